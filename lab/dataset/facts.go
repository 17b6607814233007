package dataset

import (
	"fmt"
	"iter"

	"github.com/larkstream/larkstream/lab/dataset/check"
	"github.com/larkstream/larkstream/lab/dataset/facts"
)

// neighbours is how many clips before a clip an answer is compared with that is false of its own.
const neighbours = 8

// known is a clip and what is known of it.
type known struct {
	clip  Clip
	facts facts.Facts
	check *check.Known
	// near are the clips before it.
	near []*check.Known
}

// knowns yields the clips of a collection with their annotations.
func (s *Set) knowns(name string) iter.Seq2[known, error] {
	return func(yield func(known, error) bool) {
		if !s.has(name, stepAnnotate) {
			yield(known{}, fmt.Errorf("%s has no annotations: make them with lark dataset annotate", name))
			return
		}
		notes := besideOf[annotation](s, name, stepAnnotate)
		defer notes.stop()
		var near []*check.Known
		for c, err := range s.Clips(name) {
			k := known{clip: c}
			if err == nil {
				k, err = join(c, notes)
			}
			if k.near = near; err != nil || !yield(k, nil) {
				if err != nil {
					yield(k, err)
				}
				return
			}
			near = append(near[max(0, len(near)-neighbours+1):len(near):len(near)], k.check)
		}
	}
}

func join(c Clip, notes *beside[annotation]) (known, error) {
	a, err := notes.of(c.ID)
	if err != nil {
		return known{}, err
	}
	seconds := a.Seconds
	if seconds == 0 && c.Span.End > 0 {
		seconds = rounded(c.Span.End - c.Span.Start)
	}
	f, err := facts.Of(c.ID, c.Dataset, seconds, c.Labels, a.Fields)
	return known{clip: c, facts: f, check: check.Of(f)}, err
}

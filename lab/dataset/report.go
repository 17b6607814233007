package dataset

import (
	"context"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/lab/dataset/check"
	"github.com/larkstream/larkstream/lab/eval"
)

//go:embed report.html
var reportText string

var reportPage = template.Must(template.New("dataset").Parse(reportText))

// Bounds of a report.
const (
	shownClips    = 24
	shownRejected = 10
	shownSeconds  = 12
)

// countRow is a line of the report's table.
type countRow struct {
	Dataset, Step              string
	Clips, Missing, Failed     int
	Accepted, Rejected, Tokens int
	Cost                       float64
}

// shownClip is an example.
type shownClip struct {
	ID, Licence, Facts string
	Pairs              []Checked
	Audio              template.URL

	path string
	span Span
}

// shownFault are rejected pairs of a kind.
type shownFault struct {
	Kind     string
	Count    int
	Examples []rejectedPair
}

type rejectedPair struct{ Clip, Question, Answer, Detail string }

type report struct {
	Name     string
	Rows     []countRow
	Licences []licenceCount
	Clips    []*shownClip
	Faults   []*shownFault
	Accepted int
	Rejected int
	Cost     float64

	licences map[string]int
	faults   map[string]*shownFault
	seed     uint64
	draws    map[string]float64
}

type licenceCount struct {
	Licence string
	Clips   int
}

// WriteReport writes a page that needs no other file: counts by collection and family, clips to be heard with their pairs, rejected pairs by kind, and
// the cost. The seed draws the examples. Memory does not grow with the set.
func WriteReport(ctx context.Context, w io.Writer, s *Set, seed uint64) error {
	r := &report{Name: s.Dir, licences: map[string]int{}, faults: map[string]*shownFault{}, seed: seed, draws: map[string]float64{}}
	for _, name := range s.Names {
		if err := r.collection(s, name); err != nil {
			return fmt.Errorf("reporting on %s: %w", name, err)
		}
	}
	if err := r.sound(ctx); err != nil {
		return err
	}
	for licence, n := range r.licences {
		r.Licences = append(r.Licences, licenceCount{licence, n})
	}
	slices.SortFunc(r.Licences, func(a, b licenceCount) int { return strings.Compare(a.Licence, b.Licence) })
	for _, f := range r.faults {
		r.Faults = append(r.Faults, f)
	}
	slices.SortFunc(r.Faults, func(a, b *shownFault) int {
		if d := b.Count - a.Count; d != 0 {
			return d
		}
		return strings.Compare(a.Kind, b.Kind)
	})
	if err := reportPage.Execute(w, r); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return nil
}

func (r *report) collection(s *Set, name string) error {
	steps, err := s.pairSteps(name)
	if err != nil {
		return err
	}
	for i, step := range steps {
		row := countRow{Dataset: name, Step: strings.TrimPrefix(step, pairsPrefix)}
		pairs := besideOf[pairRow](s, name, step)
		for k, err := range s.knowns(name) {
			var p pairRow
			if err == nil {
				p, err = pairs.of(k.clip.ID)
			}
			if err != nil {
				pairs.stop()
				return err
			}
			if i == 0 {
				r.licences[k.clip.Licence]++
			}
			row.add(p)
			r.draw(s, k, p)
		}
		pairs.stop()
		r.Rows = append(r.Rows, row)
		r.Accepted += row.Accepted
		r.Rejected += row.Rejected
		r.Cost += row.Cost
	}
	return nil
}

func (c *countRow) add(p pairRow) {
	c.Clips++
	switch p.State {
	case stateMissing:
		c.Missing++
	case stateFailed:
		c.Failed++
	}
	c.Cost += p.Cost
	for _, reply := range p.Replies {
		c.Tokens += reply.PromptTokens + reply.CompletionTokens
	}
	for _, pair := range p.Pairs {
		if pair.Rejected == nil {
			c.Accepted++
		} else {
			c.Rejected++
		}
	}
}

// draw keeps the clips with the smallest draws as examples, and the first rejected pairs of each kind.
func (r *report) draw(s *Set, k known, p pairRow) {
	for _, pair := range p.Pairs {
		if pair.Rejected != nil {
			r.reject(k.clip.ID, pair, *pair.Rejected)
		}
	}
	if len(p.Pairs) == 0 {
		return
	}
	at := slices.IndexFunc(r.Clips, func(c *shownClip) bool { return c.ID == k.clip.ID })
	if at >= 0 {
		r.Clips[at].Pairs = append(r.Clips[at].Pairs, p.Pairs...)
		return
	}
	drawn := share(r.seed, k.clip.ID)
	r.Clips = append(r.Clips, &shownClip{ID: k.clip.ID, Licence: k.clip.Licence, Facts: string(k.facts.Shown), Pairs: p.Pairs, path: s.Path(k.clip), span: k.clip.Span})
	r.draws[k.clip.ID] = drawn
	if len(r.Clips) <= shownClips {
		return
	}
	slices.SortFunc(r.Clips, func(a, b *shownClip) int {
		if r.draws[a.ID] < r.draws[b.ID] {
			return -1
		}
		return 1
	})
	delete(r.draws, r.Clips[shownClips].ID)
	r.Clips = r.Clips[:shownClips]
}

func (r *report) reject(clip string, p Checked, f check.Fault) {
	shown := r.faults[f.Kind]
	if shown == nil {
		shown = &shownFault{Kind: f.Kind}
		r.faults[f.Kind] = shown
	}
	if shown.Count++; len(shown.Examples) < shownRejected {
		shown.Examples = append(shown.Examples, rejectedPair{clip, p.Question, p.Answer, f.Detail})
	}
}

// sound reads the beginning of each example. A file that cannot be read stays silent.
func (r *report) sound(ctx context.Context) error {
	files, err := audio.NewDecoder(ctx, audio.DefaultConfig())
	if err != nil {
		return err
	}
	for _, c := range r.Clips {
		var pcm []int16
		if err := hear(ctx, files, c.path, c.span, shownSeconds, func(part []int16) { pcm = append(pcm, part...) }); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			continue
		}
		c.Audio = template.URL("data:audio/wav;base64," + base64.StdEncoding.EncodeToString(eval.Wav(eval.Quarter(pcm), eval.ShownRate))) //nolint:gosec // bytes of our own making
	}
	return nil
}

package dataset

import (
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Files of a collection in a set.
const (
	clipsFile = "clips.jsonl"
	// Names of steps; each writes NAME.jsonl.
	stepAnnotate = "annotations"
	stepFrames   = "frames"
	stepSplit    = "splits"
	pairsPrefix  = "pairs."
)

// Set is a folder with the collections that were imported into it.
type Set struct {
	// Dir is the folder, absolute.
	Dir string
	// Names are the collections, sorted.
	Names []string
}

// Open reads which collections a set holds.
func Open(dir string) (*Set, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	found, err := filepath.Glob(filepath.Join(path, "*", clipsFile))
	if err != nil {
		return nil, err
	}
	if len(found) == 0 {
		return nil, fmt.Errorf("opening set: %s holds no collection: make one with lark dataset import", dir)
	}
	s := &Set{Dir: path}
	for _, f := range found {
		s.Names = append(s.Names, filepath.Base(filepath.Dir(f)))
	}
	slices.Sort(s.Names)
	return s, nil
}

func (s *Set) path(name, file string) string { return filepath.Join(s.Dir, name, file) }

// Clips yields the clips of a collection.
func (s *Set) Clips(name string) iter.Seq2[Clip, error] { return rows[Clip](s.path(name, clipsFile)) }

// pairSteps are the names of the steps that made pairs for a collection, or parts of them, sorted.
func (s *Set) pairSteps(name string) ([]string, error) {
	found, err := filepath.Glob(s.path(name, pairsPrefix+"*.jsonl"))
	var out []string
	for _, f := range found {
		step := strings.TrimSuffix(partPattern.ReplaceAllString(filepath.Base(f), ""), ".jsonl")
		if !strings.HasSuffix(step, oldSuffix) {
			out = append(out, step)
		}
	}
	slices.Sort(out)
	return slices.Compact(out), err
}

// has tells whether a step has begun for a collection.
func (s *Set) has(name, step string) bool {
	_, err := os.Stat(s.path(name, step+".jsonl"))
	return err == nil
}

// named is a row of a step: it tells which clip it is about.
type named interface{ clip() string }

// beside reads a step's file beside the clips. Its next gives the row of the next clip; done = the step has not come so far.
type beside[R named] struct {
	step string
	next func() (R, error, bool)
	stop func()
}

func besideOf[R named](s *Set, name, step string) *beside[R] {
	b := &beside[R]{step: step}
	b.next, b.stop = iter.Pull2(rows[R](s.path(name, step+".jsonl")))
	return b
}

// errNoRow says that a step has not come to a clip.
var errNoRow = errors.New("the step has not come so far")

// of is the row of the clip, which must be the next one.
func (b *beside[R]) of(clip string) (R, error) {
	row, err, ok := b.next()
	switch {
	case !ok:
		return row, fmt.Errorf("%s has no row of clip %s: %w: run it again", b.step, clip, errNoRow)
	case errors.Is(err, errTorn):
		return row, fmt.Errorf("%s has no row of clip %s: %w: run it again", b.step, clip, errNoRow)
	case err != nil:
		return row, err
	case row.clip() != clip:
		return row, fmt.Errorf("%s has a row of clip %s where clips.jsonl has %s: it was made of other clips, make it anew", b.step, row.clip(), clip)
	}
	return row, nil
}

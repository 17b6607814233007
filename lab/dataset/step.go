package dataset

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"slices"
)

// RunOptions are what all steps take.
type RunOptions struct {
	// Jobs is how many clips are worked on at once; 0 = 1.
	Jobs int
	// Anew forgets what the step has done; Retry does again what has failed.
	Anew, Retry bool
	// Part is which clips of each collection are done, and where their rows go; the zero value: all, and the rows of parts that were made before are taken over.
	Part Part
	// Progress is called after each clip of a collection; nil = nobody looks.
	Progress func(name string, done int)
}

// Tally is what a step did.
type Tally struct {
	// Clips is how many rows the step's files have now; Kept of them were there before.
	Clips int `json:"clips"`
	Kept  int `json:"kept"`
	// Failed is how many of the clips failed; Missing how many have no audio.
	Failed  int `json:"failed"`
	Missing int `json:"missing"`
}

// States of a row.
const (
	stateDone    = "done"
	stateFailed  = "failed"
	stateMissing = "missing"
)

// outcome is the part that the rows of all steps share.
type outcome struct {
	Clip  string `json:"clip"`
	State string `json:"state"`
	// Reason says why the state is not done.
	Reason string `json:"reason,omitempty"`
}

func (o outcome) clip() string    { return o.Clip }
func (o outcome) result() outcome { return o }

// stepRow is the row of a step.
type stepRow interface {
	named
	result() outcome
}

const oldSuffix = ".old"

// step runs do for every clip of a set and keeps its rows.
type step[T any, R stepRow] struct {
	set      *Set
	name     string
	settings any
	opts     RunOptions
	// items yields what do works on, one a clip, in the order of the clips.
	items func(name string) iter.Seq2[T, error]
	// id names an item's clip.
	id func(T) string
	// do makes a row. An error ends the run; the fault of a clip is a row.
	do func(context.Context, T) (R, error)
	// seen is told of every row, also of those that were there; nil = nobody looks.
	seen  func(R)
	tally Tally
}

// run does what is not done yet.
func (s *step[T, R]) run(ctx context.Context) (Tally, error) {
	for _, name := range s.set.Names {
		if err := s.collection(ctx, name); err != nil {
			return s.tally, fmt.Errorf("%s of %s: %w", s.name, name, err)
		}
	}
	return s.tally, nil
}

// files of a step and a collection.
type files struct {
	// path has the rows, settings what they were made with, old the rows that were there before a retry.
	path, settings, old string
	// others have rows that other runs made: those of the parts for the whole, those of the whole for a part.
	others parts
}

func (s *step[T, R]) collection(ctx context.Context, name string) (err error) {
	file := func(ending string) string { return s.set.path(name, s.name+s.opts.Part.suffix()+ending) }
	f := files{path: file(".jsonl"), settings: file(".settings.json"), old: file(oldSuffix + ".jsonl")}
	var joined []string // go when all rows are in one file
	if s.opts.Part != (Part{}) {
		f.others = parts{paths: []string{s.set.path(name, s.name+".jsonl")}, settings: []string{s.set.path(name, s.name+".settings.json")}}
	} else if f.others, err = s.set.partsOf(name, s.name); err != nil {
		return err
	} else {
		joined = slices.Concat(f.others.paths, f.others.settings)
	}
	if s.opts.Anew {
		if err := removeAll(append(joined, f.path, f.old, f.settings)); err != nil {
			return err
		}
	}
	if err := s.prepare(f); err != nil {
		return err
	}
	book, err := openLedger(f.path)
	if err != nil {
		return err
	}
	err = s.rest(ctx, name, f, book)
	if err := errors.Join(err, book.close()); err != nil {
		return err
	}
	return removeAll(append(joined, f.old))
}

func removeAll(paths []string) error {
	for _, f := range paths {
		if err := os.Remove(f); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// prepare compares the settings with those of the rows that are there, and puts the rows aside whose failures are tried again.
func (s *step[T, R]) prepare(f files) error {
	want, err := json.Marshal(s.settings)
	if err != nil {
		return err
	}
	for _, other := range f.others.settings {
		if have, err := os.ReadFile(other); err == nil && !bytes.Equal(have, want) {
			return fmt.Errorf("%s has other settings, %.300s, than are asked for, %.300s: use the same ones, or begin anew with --anew", other, have, want)
		}
	}
	have, err := os.ReadFile(f.settings)
	switch {
	case errors.Is(err, os.ErrNotExist):
		if err := writeWhole(f.settings, func(w io.Writer) error { _, err := w.Write(want); return err }); err != nil {
			return err
		}
	case err != nil:
		return err
	case !bytes.Equal(have, want):
		return fmt.Errorf("it was begun with other settings, %.300s, and is asked for with %.300s: use the same ones, or begin anew with --anew", have, want)
	}
	if !s.opts.Retry {
		return nil
	}
	if _, err := os.Stat(f.old); err == nil {
		return nil // an interrupted retry goes on
	}
	if err := os.Rename(f.path, f.old); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// todo is an item and, in a retry or where a part has done it, the row that it has already.
type todo[T, R any] struct {
	item T
	row  R
	kept bool
}

// rest reads items beside the rows that are there and does the others.
func (s *step[T, R]) rest(ctx context.Context, name string, f files, book *ledger) error {
	done := 0
	count := func(r R, kept bool) {
		done++
		s.count(r, kept)
		if s.opts.Progress != nil {
			s.opts.Progress(name, done)
		}
	}
	return ordered(ctx, max(1, s.opts.Jobs), s.todos(name, f, func(r R) { count(r, true) }),
		func(ctx context.Context, t todo[T, R]) (todo[T, R], error) {
			if t.kept {
				return t, nil
			}
			row, err := s.do(ctx, t.item)
			return todo[T, R]{row: row}, err
		},
		func(t todo[T, R]) error {
			if err := book.write(t.row); err != nil {
				return err
			}
			count(t.row, t.kept)
			return nil
		})
}

func (s *step[T, R]) count(row R, kept bool) {
	s.tally.Clips++
	if kept {
		s.tally.Kept++
	}
	switch row.result().State {
	case stateFailed:
		s.tally.Failed++
	case stateMissing:
		s.tally.Missing++
	}
	if s.seen != nil {
		s.seen(row)
	}
}

// todos yields the items of the part that have no row yet; done is told of the rows that are there.
func (s *step[T, R]) todos(name string, f files, done func(R)) iter.Seq2[todo[T, R], error] {
	return func(yield func(todo[T, R], error) bool) {
		have, stop := iter.Pull2(rows[R](f.path))
		defer stop()
		was, stopWas := iter.Pull2(rows[R](f.old))
		defer stopWas()
		others, stopOthers := pullParts[R](f.others)
		defer stopOthers()
		n := -1
		for item, err := range s.items(name) {
			if err != nil {
				yield(todo[T, R]{}, err)
				return
			}
			n++
			other, err := others(n, s.id(item))
			if err != nil {
				yield(todo[T, R]{}, err)
				return
			}
			if !s.opts.Part.has(n) {
				continue
			}
			written, err := follow(have, s.id(item))
			if err != nil {
				yield(todo[T, R]{}, err)
				return
			}
			before, _ := follow(was, s.id(item)) // what cannot be read is done again
			if written != nil {
				done(*written)
				continue
			}
			t := todo[T, R]{item: item}
			switch {
			case before != nil && (*before).result().State != stateFailed:
				t.row, t.kept = *before, true
			case other != nil && before == nil && !(s.opts.Retry && (*other).result().State == stateFailed):
				t.row, t.kept = *other, true
			}
			if !yield(t, nil) {
				return
			}
		}
		if row, err, more := have(); more {
			yield(todo[T, R]{}, errors.Join(err, fmt.Errorf("it has a row of clip %s behind the last clip: it was made of other clips, begin anew with --anew", row.clip())))
		}
	}
}

// follow is the next row, which must be of the clip; nil = there are no more.
func follow[R named](next func() (R, error, bool), clip string) (*R, error) {
	row, err, ok := next()
	switch {
	case !ok:
		return nil, nil
	case err != nil:
		return nil, err
	case row.clip() != clip:
		return nil, fmt.Errorf("it has a row of clip %s where clips.jsonl has %s: it was made of other clips, begin anew with --anew", row.clip(), clip)
	}
	return &row, nil
}

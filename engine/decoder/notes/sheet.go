// Package notes lets a small decoder write down what it hears before it reads a question, and answer in sentences that its notes allow.
//
// The notes are a line of tokens behind the audio: for each slot a label, the value that the decoder finds likeliest among the slot's values, for
// some slots the runner-up, and for some whether the value is sure. They are taken once a window and shared by its questions. An answer then consists
// of sentences of the bundle whose conditions the notes meet; the decoder chooses among those. So an answer is always well formed, and a list, a
// description and a yes or no about one window cannot contradict each other. docs/lark-nano.md, section 8, describes the file.
package notes

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/larkstream/larkstream/engine/model"
)

const (
	maxFile      = 1 << 20 // bytes of the file
	maxSlots     = 64
	maxValues    = 4096
	maxSentences = 1024
	maxText      = 1000 // bytes of a sentence
)

// Slot is one thing that is noted.
type Slot struct {
	Name   string   `json:"name"`
	Label  string   `json:"label"`  // piece before the value
	Values []string `json:"values"` // pieces, one of which is noted
	// Second says that the runner-up is noted behind the value.
	Second bool `json:"second"`
	// Sure is the confidence from which on the value is noted as sure; nil: the slot does not tell.
	Sure *float64 `json:"sure,omitempty"`
	// Scale and Shift turn the logit of the decoder's probability into the logit of the confidence (Platt scaling). Scale 0 stands for 1.
	Scale float64 `json:"scale,omitempty"`
	Shift float64 `json:"shift,omitempty"`
	// Bias is added to the score of the first of two values: it moves the point from which on a value counts.
	Bias float64 `json:"bias,omitempty"`
}

// Sheet is what the file says.
type Sheet struct {
	Near          float64    `json:"near"` // tempi within this part of each other are the same
	Sure          string     `json:"sure"`
	Unsure        string     `json:"unsure"`
	MostSentences int        `json:"most_sentences"`
	Slots         []Slot     `json:"slots"`
	Sentences     []Sentence `json:"sentences"`
}

// Of reads the sheet of a bundle; nil where the bundle has none.
func Of(b *model.Bundle) (*Sheet, error) {
	if b.LLM.Notes == "" {
		return nil, nil //nolint:nilnil // no notes are a choice of the bundle
	}
	return Open(b.NotesPath())
}

// Open reads a sheet.
func Open(path string) (*Sheet, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("opening the notes: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	raw, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("reading the notes %s: %w", path, err)
	}
	s, err := Parse(raw)
	if err != nil {
		return nil, fmt.Errorf("reading the notes %s: %w", path, err)
	}
	return s, nil
}

// Parse reads the content of the file and reports every fault of it.
func Parse(raw []byte) (*Sheet, error) {
	if len(raw) > maxFile {
		return nil, fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	var s Sheet
	if err := dec.Decode(&s); err != nil {
		return nil, fmt.Errorf("parsing: %w", err)
	}
	return &s, s.check()
}

func (s *Sheet) check() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	check(s.Near > 0 && s.Near < 1, "near %v must be between 0 and 1", s.Near)
	check(s.MostSentences >= 1 && s.MostSentences <= 16, "most_sentences %d must be between 1 and 16", s.MostSentences)
	check(len(s.Slots) >= 1 && len(s.Slots) <= maxSlots, "%d slots are too few or too many", len(s.Slots))
	check(len(s.Sentences) >= 1 && len(s.Sentences) <= maxSentences, "%d sentences are too few or too many", len(s.Sentences))
	for i, slot := range s.Slots {
		check(slot.Name != "" && slot.Label != "", "slot %d has no name or no label", i)
		check(len(slot.Values) >= 2 && len(slot.Values) <= maxValues, "slot %s has %d values", slot.Name, len(slot.Values))
		check(s.slot(slot.Name) == i, "slot %s occurs twice", slot.Name)
	}
	for _, name := range []string{tempoSlot, keySlot, metreSlot, drumsSlot} {
		check(s.slot(name) >= 0, "slot %s is missing", name)
	}
	for i := range s.Sentences {
		check(s.Sentences[i].Text != "" && len(s.Sentences[i].Text) <= maxText, "sentence %d is empty or too long", i)
		if err := s.Sentences[i].check(s); err != nil {
			faults = append(faults, fmt.Errorf("sentence %q: %w", s.Sentences[i].Text, err))
		}
	}
	return errors.Join(faults...)
}

// slot is the place of a slot, or -1.
func (s *Sheet) slot(name string) int {
	return slices.IndexFunc(s.Slots, func(x Slot) bool { return x.Name == name })
}

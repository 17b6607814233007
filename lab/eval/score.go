// Package eval measures how true a model's answers about labelled music are, each figure beside what the best constant answer
// scores on the same clips.
package eval

import (
	"math"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/engine/tags"
)

// Label is what is true of a clip; a line of manifest.jsonl.
type Label struct {
	File string `json:"file"`
	// TempoBPM is in quarter notes a minute.
	TempoBPM float64 `json:"tempo_bpm"`
	// Key is the tonic, Mode major or minor.
	Key  string `json:"key"`
	Mode string `json:"mode"`
	// Metre is 4/4 or 3/4.
	Metre string `json:"metre"`
	// Families are the instrument families heard.
	Families []string `json:"families"`
	Drums    bool     `json:"drums"`
}

// Families is the closed list of instrument families, as docs/lark-nano.md has it.
func Families() []string {
	return []string{"piano", "mallets", "organ", "guitar", "bass", "strings", "choir", "brass", "reeds", "flutes", "synth", "folk"}
}

// pitchClass maps every spelling of a tonic to 0..11, C = 0.
var pitchClass = map[string]int{
	"C": 0, "C#": 1, "Db": 1, "D": 2, "D#": 3, "Eb": 3, "E": 4, "F": 5, "F#": 6, "Gb": 6, "G": 7, "G#": 8, "Ab": 8, "A": 9, "A#": 10, "Bb": 10, "B": 11,
}

// key is a tonic and a mode; the zero value is no key.
type key struct {
	tonic int
	mode  string
}

func (l Label) key() key { return key{pitchClass[l.Key], l.Mode} }

// parseKey reads "F# minor"; the zero key = there is none, or several.
func parseKey(answer string) key {
	tonic, mode := tags.KeyIn(answer)
	return key{pitchClass[tonic], mode}
}

// parseYesNo reads the first word; ok is false if it is neither.
func parseYesNo(answer string) (yes, ok bool) {
	first, _, _ := strings.Cut(strings.TrimSpace(answer), " ")
	switch strings.ToLower(strings.Trim(first, ",.!")) {
	case "yes":
		return true, true
	case "no":
		return false, true
	}
	return false, false
}

// parseFamilies reads the instrument families that an answer names.
func parseFamilies(answer string) []string {
	named := tags.InstrumentsIn(answer)
	return slices.DeleteFunc(Families(), func(f string) bool { return !slices.Contains(named, f) })
}

// tempoTolerance is the usual 4 %, see Gouyon et al., "An experimental comparison of audio tempo induction algorithms", 2006.
const tempoTolerance = 0.04

// tempoRight tells whether a tempo is within 4 %; octaves also takes half, double, a third and three times the tempo.
func tempoRight(got, want float64, octaves bool) bool {
	factors := []float64{1}
	if octaves {
		factors = []float64{1, 2, 0.5, 3, 1.0 / 3}
	}
	return slices.ContainsFunc(factors, func(f float64) bool { return math.Abs(got/want/f-1) < tempoTolerance })
}

// mirex is the weighted score of MIREX's key detection task: 1 for the key, 0.5 for a fifth above or below, 0.3 for the
// relative key, 0.2 for the parallel one. https://www.music-ir.org/mirex/wiki/2021:Audio_Key_Detection
func mirex(got, want key) float64 {
	apart := ((got.tonic-want.tonic)%12 + 12) % 12
	switch {
	case got.mode == "":
		return 0
	case got == want:
		return 1
	case got.mode == want.mode && (apart == 7 || apart == 5):
		return 0.5
	case want.mode == "major" && got.mode == "minor" && apart == 9, want.mode == "minor" && got.mode == "major" && apart == 3:
		return 0.3
	case apart == 0:
		return 0.2
	}
	return 0
}

// overlap counts for an F1 over all clips: how many families were named, were true, and were both.
type overlap struct{ named, true, both int }

func (o *overlap) add(named, truth []string) {
	o.named += len(named)
	o.true += len(truth)
	for _, f := range named {
		if slices.Contains(truth, f) {
			o.both++
		}
	}
}

// f1 is 2 x both / (named + true).
func (o overlap) f1() float64 {
	if o.named+o.true == 0 {
		return 0
	}
	return 2 * float64(o.both) / float64(o.named+o.true)
}

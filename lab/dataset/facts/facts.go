// Package facts is what is known of a clip: what its collection says, and what was measured. Questions and answers are made of it and checked
// against it.
package facts

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Names of annotated fields. They are LLark's; where LLark's name ends in madmom, the name of the tool that was used stands.
const (
	Tempo    = "tempo_in_beats_per_minute"
	Beats    = "downbeats"
	Chords   = "chords"
	Key      = "key"
	Metre    = "metre"
	Loudness = "loudness_lufs"
	// Ours ends the fields of engine/mir.
	Ours = "_mir"
)

// Facts are what is known of one clip.
type Facts struct {
	// Labels hold the collection's word where it has one, else what was measured.
	Labels

	Clip    string
	Dataset string
	// Seconds is the clip's length.
	Seconds float64
	// Beats are nil where they are not known; LoudnessLUFS too.
	Beats        []Beat
	LoudnessLUFS *float64
	// Shown is the metadata that a language model is given, as one JSON object.
	Shown json.RawMessage
}

// Of joins labels and annotated fields.
func Of(clip, dataset string, seconds float64, labels Labels, fields map[string]json.RawMessage) (Facts, error) {
	f := Facts{Labels: labels, Clip: clip, Dataset: dataset, Seconds: seconds}
	fields = maps.Clone(fields)
	for _, part := range []struct {
		name  string
		known bool
		to    any
	}{
		{Tempo, labels.TempoBPM > 0, &f.TempoBPM},
		{Key, labels.Key != "", &f.Key},
		{Metre, labels.Metre != "", &f.Metre},
		{Chords, len(labels.Chords) > 0, &f.Labels.Chords},
		{Loudness, false, &f.LoudnessLUFS},
		{Beats, false, &f.Beats},
	} {
		if err := take(fields, part.name, part.known, part.to); err != nil {
			return f, fmt.Errorf("annotation of clip %s: %w", clip, err)
		}
	}
	return f, f.show(labels, fields)
}

// take reads a field by its name, alone or followed by the name of a tool; another tool goes before ours. Where the collection knows better, the
// annotated fields are dropped, so that nobody is shown two answers.
func take(fields map[string]json.RawMessage, name string, known bool, to any) error {
	var names []string
	for n := range fields {
		if n == name || strings.HasPrefix(n, name+"_") {
			names = append(names, n)
		}
	}
	slices.SortFunc(names, func(a, b string) int {
		if ours := strings.HasSuffix(a, Ours); ours != strings.HasSuffix(b, Ours) {
			return map[bool]int{true: 1, false: -1}[ours]
		}
		return strings.Compare(a, b)
	})
	for i, n := range names {
		if known || i > 0 {
			delete(fields, n)
			continue
		}
		if err := json.Unmarshal(fields[n], to); err != nil {
			return fmt.Errorf("field %s: %w", n, err)
		}
	}
	return nil
}

// show writes the metadata: labels, fields, and the clip's length.
func (f *Facts) show(labels Labels, fields map[string]json.RawMessage) error {
	raw, err := json.Marshal(labels)
	if err != nil {
		return err
	}
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(raw, &all); err != nil {
		return err
	}
	delete(all, "instruments_complete")
	maps.Copy(all, fields)
	if f.Seconds > 0 {
		all["duration_in_seconds"] = json.RawMessage(fmt.Sprintf("%g", f.Seconds))
	}
	f.Shown, err = json.Marshal(all)
	return err
}

// ChordNames are the distinct chords of the clip in the order in which they first sound, as musicians write them: C, F#m.
func (f *Facts) ChordNames() []string {
	var out []string
	for _, c := range f.Labels.Chords {
		if name := Plain(c.Chord); name != "" && !slices.Contains(out, name) {
			out = append(out, name)
		}
	}
	return out
}

// Plain is a chord such as F#:min as musicians write it: F#m; "" = none sounds.
func Plain(chord string) string {
	root, kind, found := strings.Cut(chord, ":")
	switch {
	case root == "N" || root == "X":
		return ""
	case !found || kind == "maj":
		return root
	case kind == "min":
		return root + "m"
	}
	return root + kind
}

var classes = map[byte]int{'C': 0, 'D': 2, 'E': 4, 'F': 5, 'G': 7, 'A': 9, 'B': 11}

// PitchClass of a note's name, C = 0; -1 = it is none. Sharps and flats may be signs, letters or words.
func PitchClass(name string) int {
	name = strings.NewReplacer("♯", "#", "♭", "b", " sharp", "#", " flat", "b", "-sharp", "#", "-flat", "b").Replace(strings.TrimSpace(name))
	if name == "" {
		return -1
	}
	class, ok := classes[name[0]]
	if !ok {
		return -1
	}
	for _, sign := range name[1:] {
		switch sign {
		case '#':
			class++
		case 'b':
			class += 11
		default:
			return -1
		}
	}
	return class % 12
}

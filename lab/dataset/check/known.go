package check

import (
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/lab/dataset/facts"
	"github.com/larkstream/larkstream/lab/eval"
)

// Known is what is known of a clip, prepared for checking.
type Known struct {
	facts facts.Facts
	// text are the words of all labels that are text, in lower case; words are the same one by one.
	text  string
	words map[string]bool
	// times are seconds that occur: of beats, chords and notes, and their lengths. values are all other numbers. counts are how many there are of things.
	times, values []float64
	counts        map[counted]bool
	// families of instruments that are there, for sure not there, and whether there may be others.
	families map[string]bool
	chordSet map[string]bool
}

var wordPattern = regexp.MustCompile(`[\p{L}\p{N}#'’&-]+`)

func newKnown(f facts.Facts) *Known {
	k := &Known{facts: f, words: map[string]bool{}, counts: map[counted]bool{}, families: map[string]bool{}, chordSet: map[string]bool{}}
	texts := slices.Concat(f.Genres, f.Moods, f.Tags, f.Captions, f.Instruments, []string{f.Title, f.Artist, f.Album, f.Composer, f.Composition, f.Movement, f.Ensemble, f.Key})
	k.text = strings.Join(texts, " . ")
	for _, w := range wordPattern.FindAllString(strings.ToLower(k.text), -1) {
		k.add(w)
		for _, part := range strings.Split(w, "-") {
			k.add(part)
		}
	}
	k.readInstruments()
	k.readNumbers()
	for _, c := range f.ChordNames() {
		k.chordSet[canonicalChord(c)] = true
	}
	return k
}

func (k *Known) add(word string) {
	k.words[word] = true
	k.words[strings.TrimSuffix(word, "s")] = true
}

// says tells whether all words of a phrase are in the labels' texts.
func (k *Known) says(phrase string) bool {
	for _, w := range wordPattern.FindAllString(strings.ToLower(phrase), -1) {
		if !k.words[w] && !k.words[strings.TrimSuffix(w, "s")] {
			return false
		}
	}
	return true
}

func (k *Known) readInstruments() {
	for _, i := range k.facts.Instruments {
		k.families[eval.FamilyOf(i)] = true
	}
	if k.facts.Drums != nil && *k.facts.Drums {
		k.families["drums"] = true
	}
	for _, m := range eval.Mentions(k.text) {
		if !m.Denied {
			k.families[m.Family] = true
		}
	}
}

// readNumbers gathers the numbers of the facts and those that follow from them: the length of a beat and of a bar, half and double tempo, lengths of chords,
// and how many chords, instruments, beats and bars there are.
func (k *Known) readNumbers() {
	f := k.facts
	add := func(to *[]float64, values ...float64) { *to = append(*to, values...) }
	if f.TempoBPM > 0 {
		add(&k.values, f.TempoBPM)
		add(&k.times, 60/f.TempoBPM)
	}
	if f.Seconds > 0 {
		add(&k.times, f.Seconds)
	}
	if f.LoudnessLUFS != nil {
		add(&k.values, math.Abs(*f.LoudnessLUFS))
	}
	for _, c := range f.Labels.Chords {
		add(&k.times, c.Start, c.End, c.End-c.Start)
	}
	bars := 0
	for _, b := range f.Beats {
		add(&k.times, b.Time)
		if b.Number == 1 {
			bars++
		}
	}
	k.count("bar", bars)
	k.count("chord", len(f.ChordNames()))
	k.count("chord", len(f.Labels.Chords))
	if f.Complete {
		k.count("instrument", len(f.Instruments))
		k.count("instrument", len(k.families))
	}
	for _, notes := range f.Notes {
		k.count("note", len(notes))
		for _, n := range notes {
			add(&k.times, n.Start, n.End)
		}
	}
	if beats, unit, ok := signature(f.Metre); ok {
		k.count("beat", beats)
		add(&k.values, float64(beats), float64(unit))
		if f.TempoBPM > 0 {
			add(&k.times, float64(beats)*60/f.TempoBPM)
		}
	}
	for _, m := range numberPattern.FindAllString(k.text, -1) {
		if v, err := json.Number(m).Float64(); err == nil {
			add(&k.values, v)
		}
	}
}

// counted is how many there are of a thing.
type counted struct {
	thing string
	n     int
}

func (k *Known) count(thing string, n int) {
	if n > 0 {
		k.counts[counted{thing, n}] = true
	}
}

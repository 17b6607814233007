// Package rules makes pairs of question and answer out of facts, without a language model: the family understanding from single facts, and captioning
// from captions that people wrote.
package rules

import (
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/larkstream/larkstream/lab/dataset/facts"
)

// Families that rules can make.
const (
	Understanding = "understanding"
	Captioning    = "captioning"
)

// Pair of a question and its answer.
type Pair struct {
	Question string `json:"question"`
	Answer   string `json:"answer"`
}

//go:embed wordings.json
var defaultWordings []byte

// wording is how a fact is asked for and told.
type wording struct {
	Questions []string `json:"questions"`
	Answers   []string `json:"answers"`
	Yes       []string `json:"yes"`
	No        []string `json:"no"`
}

// Rules make pairs. They are safe for concurrent use.
type Rules struct {
	seed     uint64
	wordings map[string]wording
}

// New returns rules with the built-in wordings, or with those of raw, a JSON object of the same form.
func New(seed uint64, raw []byte) (*Rules, error) {
	if raw == nil {
		raw = defaultWordings
	}
	r := &Rules{seed: seed}
	if err := json.Unmarshal(raw, &r.wordings); err != nil {
		return nil, fmt.Errorf("reading wordings: %w", err)
	}
	for fact, w := range r.wordings {
		if len(w.Questions) == 0 || len(w.Answers) == 0 && (len(w.Yes) == 0 || len(w.No) == 0) {
			return nil, fmt.Errorf("reading wordings: %s has no questions or no answers", fact)
		}
	}
	if len(r.wordings) == 0 {
		return nil, errors.New("reading wordings: there are none")
	}
	return r, nil
}

// Wordings is how many questions there are for a fact.
func (r *Rules) Wordings(fact string) int { return len(r.wordings[fact].Questions) }

// Questions are all wordings of questions.
func (r *Rules) Questions() (out []string) {
	for _, w := range r.wordings {
		out = append(out, w.Questions...)
	}
	return out
}

// Make makes the pairs of a family. They depend on the seed and on the clip alone.
func (r *Rules) Make(family string, f *facts.Facts) []Pair {
	h := fnv.New64a()
	fmt.Fprintf(h, "%s|%s", family, f.Clip)
	m := &maker{rules: r, dice: rand.New(rand.NewPCG(r.seed, h.Sum64()))} //nolint:gosec // not a secret
	switch family {
	case Understanding:
		m.understanding(f)
	case Captioning:
		m.captioning(f)
	}
	return m.pairs
}

type maker struct {
	rules *Rules
	dice  *rand.Rand
	pairs []Pair
}

func (m *maker) pick(list []string) string { return list[m.dice.IntN(len(list))] }

// tell adds a pair about a fact; values are names and what stands for them, by turns.
func (m *maker) tell(fact string, values ...string) {
	w, ok := m.rules.wordings[fact]
	if !ok {
		return
	}
	for i := 0; i < len(values); i += 2 {
		values[i] = "{" + values[i] + "}"
	}
	fill := strings.NewReplacer(values...)
	m.pairs = append(m.pairs, Pair{fill.Replace(m.pick(w.Questions)), upper(fill.Replace(m.pick(w.Answers)))})
}

// upper starts a sentence with a capital.
func upper(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func (m *maker) understanding(f *facts.Facts) {
	tempo := strconv.FormatFloat(math.Round(f.TempoBPM), 'f', -1, 64)
	if f.TempoBPM > 0 {
		m.tell("tempo", "tempo", tempo)
	}
	if f.Key != "" {
		m.tell("key", "key", f.Key)
	}
	if f.TempoBPM > 0 && f.Key != "" {
		m.tell("tempo_key", "tempo", tempo, "key", f.Key)
	}
	if f.Metre != "" {
		m.tell("metre", "metre", f.Metre)
	}
	m.players(f)
	m.harmony(f)
	for _, t := range []struct {
		fact, name string
		list       []string
	}{{"genre", "genres", f.Genres}, {"mood", "moods", f.Moods}, {"tags", "tags", f.Tags}} {
		if len(t.list) > 0 {
			m.tell(t.fact, t.name, List(t.list))
		}
	}
	if f.Ensemble != "" {
		m.tell("ensemble", "ensemble", f.Ensemble)
	}
	if f.LoudnessLUFS != nil {
		m.tell("loudness", "loudness", strconv.FormatFloat(*f.LoudnessLUFS, 'f', 1, 64))
	}
}

// players tells instruments and drums.
func (m *maker) players(f *facts.Facts) {
	if len(f.Instruments) > 0 {
		fact := "instruments_some"
		if f.Complete {
			fact = "instruments"
		}
		list := f.Instruments
		if f.Drums != nil && *f.Drums {
			list = append(append([]string{}, list...), "drums")
		}
		m.tell(fact, "instruments", List(list))
	}
	if f.Drums == nil {
		return
	}
	w := m.rules.wordings["drums"]
	answers := w.No
	if *f.Drums {
		answers = w.Yes
	}
	if len(w.Questions) > 0 {
		m.pairs = append(m.pairs, Pair{m.pick(w.Questions), m.pick(answers)})
	}
}

// mostChords is how many chords an answer lists.
const mostChords = 8

// harmony tells chords and the first downbeat.
func (m *maker) harmony(f *facts.Facts) {
	if names := f.ChordNames(); len(names) > 0 && len(names) <= mostChords {
		m.tell("chords", "chords", strings.Join(names, ", "))
	}
	var sounding []facts.Chord
	for _, c := range f.Labels.Chords {
		if facts.Plain(c.Chord) != "" && c.End-c.Start >= 0.5 {
			sounding = append(sounding, c)
		}
	}
	if len(sounding) > 0 {
		c := sounding[m.dice.IntN(len(sounding))]
		middle := strconv.FormatFloat((c.Start+c.End)/2, 'f', 1, 64)
		m.tell("chord_at", "time", middle, "chord", facts.Plain(c.Chord))
	}
	for _, b := range f.Beats {
		if b.Number == 1 {
			m.tell("first_downbeat", "time", strconv.FormatFloat(b.Time, 'f', 2, 64))
			break
		}
	}
}

// longCaption is how many characters a caption has that answers a question for detail.
const longCaption = 150

func (m *maker) captioning(f *facts.Facts) {
	for _, c := range f.Captions {
		fact := "caption_short"
		if len(c) >= longCaption {
			fact = "caption_long"
		}
		m.tell(fact, "caption", c)
	}
}

// List writes "a, b and c".
func List(items []string) string {
	switch n := len(items); n {
	case 0:
		return ""
	case 1:
		return items[0]
	default:
		return strings.Join(items[:n-1], ", ") + " and " + items[n-1]
	}
}

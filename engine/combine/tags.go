package combine

import (
	"encoding/json"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/larkstream/larkstream/engine/tags"
)

// Tags combines answers that are tags, field by field: the tempo's median, a vote for key with mode, metre and genre, and of instruments and moods
// those that at least a quarter of the weight names. The description is that of the window that agrees with the most of these. ok is false where no
// answer is tags.
func Tags(answers []Answer) (r Result, ok bool) {
	read := map[int]tags.Tags{}
	answers = slices.DeleteFunc(slices.Clone(answers), func(a Answer) bool {
		var t tags.Tags
		if !(a.Weight > 0) || json.Unmarshal([]byte(a.Text), &t) != nil {
			return true
		}
		read[a.Window] = t
		return false
	})
	if len(answers) == 0 {
		return Result{}, false
	}
	for i := range answers { // each is looked up by its window, whatever its text
		answers[i].Text = ""
	}
	c := combination{answers, read}
	t := tags.Tags{
		Metre: c.word(func(t tags.Tags) string { return t.Metre }), Genre: c.word(func(t tags.Tags) string { return t.Genre }),
		Instruments: c.list(func(t tags.Tags) []string { return t.Instruments }, tags.MaxInstruments),
		Mood:        c.list(func(t tags.Tags) []string { return t.Mood }, tags.MaxMoods),
	}
	t.Key, t.Mode, _ = strings.Cut(c.word(func(t tags.Tags) string { return strings.TrimSpace(t.Key + " " + t.Mode) }), " ")
	t.TempoBPM = c.tempo()
	t.Description = c.description(t)
	r = Result{Rule: Vote, Text: t.String(), Share: 1}
	for _, a := range answers {
		r.Windows = append(r.Windows, a.Window)
	}
	return r, true
}

// combination is the tags of all windows.
type combination struct {
	answers []Answer
	tags    map[int]tags.Tags
}

// each gives every answer the text that field makes of its tags.
func (c combination) each(field func(tags.Tags) string) []Answer {
	out := slices.Clone(c.answers)
	for i, a := range out {
		out[i].Text = field(c.tags[a.Window])
	}
	return out
}

func (c combination) word(field func(tags.Tags) string) string {
	value, _ := elect(c.each(field), func(s string) string { return s })
	return value
}

func (c combination) tempo() int {
	byWindow := c.each(func(t tags.Tags) string { return strconv.Itoa(t.TempoBPM) })
	bpm, _ := tempoOf(byWindow, func(s string) float64 {
		n, _ := strconv.Atoi(s) // Itoa's
		return float64(n)
	})
	if n := math.Round(bpm); n >= tags.MinTempoBPM && n <= tags.MaxTempoBPM {
		return int(n)
	}
	return 0
}

// rare is the share of the weight below which a word of a list is left out.
const rare = 0.25

func (c combination) list(field func(tags.Tags) []string, limit int) []string {
	const separator = "\n"
	texts := c.each(func(t tags.Tags) string { return strings.Join(field(t), separator) })
	split := func(s string) []string {
		if s == "" {
			return nil
		}
		return strings.Split(s, separator)
	}
	words, _, _ := unite(texts, split)
	words = slices.DeleteFunc(words, func(w string) bool {
		sum := 0.0
		for _, a := range texts {
			if slices.Contains(split(a.Text), w) {
				sum += a.Weight
			}
		}
		return sum < rare*total(texts)
	})
	return words[:min(limit, len(words))]
}

// description is that of the window whose other fields agree with the most of t; of equals the first.
func (c combination) description(t tags.Tags) string {
	best, most := "", -1
	for _, a := range c.answers {
		own := c.tags[a.Window]
		if own.Description == "" {
			continue
		}
		agree := 0
		for _, same := range []bool{
			own.TempoBPM > 0 && t.TempoBPM > 0 && math.Abs(float64(own.TempoBPM)/float64(t.TempoBPM)-1) <= within,
			own.Key != "" && own.Key == t.Key && own.Mode == t.Mode, own.Metre != "" && own.Metre == t.Metre, own.Genre != "" && own.Genre == t.Genre,
		} {
			if same {
				agree++
			}
		}
		for _, w := range own.Instruments {
			if slices.Contains(t.Instruments, w) {
				agree++
			}
		}
		if agree > most {
			best, most = own.Description, agree
		}
	}
	return best
}

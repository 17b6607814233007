package tagger

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"unicode"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/tags"
)

// field is one question of the package and what its answer tells. What an answer does not tell stays unknown.
type field struct {
	name, question string
	read           func(t *tags.Tags, sentence string)
}

// fields are asked in this order; drums come after instruments, which they settle. The wordings are plain ones that lark-nano
// was trained on, and that any model understands.
func fields() []field {
	return []field{
		{"tempo", "What is the tempo in BPM?", func(t *tags.Tags, s string) { t.TempoBPM = tempo(tags.TempoIn(s)) }},
		{"key", "What key is it in?", func(t *tags.Tags, s string) { t.Key, t.Mode = tags.KeyIn(s) }},
		{"metre", "What is the time signature?", func(t *tags.Tags, s string) { t.Metre = tags.MetreIn(s) }},
		{"instruments", "Which instruments do you hear?", func(t *tags.Tags, s string) { t.Instruments = first(tags.InstrumentsIn(s), tags.MaxInstruments) }},
		{"drums", "Are there drums?", drums},
		{"genre", "What genre is this?", func(t *tags.Tags, s string) { t.Genre = tags.GenreIn(s) }},
		{"mood", "What mood is this?", func(t *tags.Tags, s string) { t.Mood = first(tags.MoodsIn(s), tags.MaxMoods) }},
		{"description", "Describe the music in one sentence.", func(t *tags.Tags, s string) { t.Description = description(s) }},
	}
}

func questions() []contract.Question {
	var out []contract.Question
	for i, f := range fields() {
		out = append(out, contract.Question{Index: i, Text: f.question})
	}
	return out
}

// compose reads the tags from the sentences, one for each field, and checks them as it would check another engine's tags.
func compose(sentences []contract.Result) (string, error) {
	var t tags.Tags
	for i, f := range fields() {
		if s := sentences[i].Text; !tags.Refuses(s) {
			f.read(&t, s)
		}
	}
	t, err := tags.Parse([]byte(t.String()))
	if err != nil {
		return "", fmt.Errorf("reading the model's sentences: %w", err)
	}
	return t.String(), nil
}

// tempo is a tempo in whole beats a minute, 0 where it is none of music.
func tempo(bpm float64) int {
	if n := math.Round(bpm); n >= tags.MinTempoBPM && n <= tags.MaxTempoBPM {
		return int(n)
	}
	return 0
}

// drums settles what the instruments' sentence said of them: asked for drums alone, lark-nano is right more often.
func drums(t *tags.Tags, sentence string) {
	word, _, _ := strings.Cut(sentence, " ")
	switch strings.ToLower(strings.Trim(word, ",.!")) {
	case "yes":
		if !slices.Contains(t.Instruments, "drums") && len(t.Instruments) < tags.MaxInstruments {
			t.Instruments = append(t.Instruments, "drums")
		}
	case "no":
		t.Instruments = slices.DeleteFunc(t.Instruments, func(v string) bool { return v == "drums" })
	}
}

// description is the sentence on one line, cut between words where it is too long.
func description(sentence string) string {
	line := strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && !unicode.IsSpace(r) {
			return -1
		}
		return r
	}, strings.ToValidUTF8(sentence, ""))
	text := []rune(strings.Join(strings.Fields(line), " "))
	if len(text) <= tags.MaxDescription {
		return string(text)
	}
	cut := text[:tags.MaxDescription]
	if at := strings.LastIndexByte(string(cut), ' '); at > 0 {
		return string(cut)[:at]
	}
	return string(cut)
}

func first(list []string, n int) []string { return list[:min(n, len(list))] }

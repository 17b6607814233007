package combine_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/combine"
	"github.com/larkstream/larkstream/engine/tags"
)

// heard are answers to one question, of the windows from 0 on, which count the same.
func heard(texts ...string) []combine.Answer {
	var list []combine.Answer
	for i, text := range texts {
		list = append(list, combine.Answer{Window: i, Text: text, Weight: 30})
	}
	return list
}

func TestFactsAreCombinedByRule(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		question string
		answers  []combine.Answer
		want     combine.Result
	}{
		"the median of the tempos that agree": {
			"What is the tempo?", heard("120 BPM", "It is at 122 BPM.", "121 bpm", "90 BPM"),
			combine.Result{Rule: combine.Median, Text: "The tempo is 121 BPM.", Windows: []int{0, 1, 2}, Share: 0.75},
		},
		"half and double are the same tempo, as most count it": {
			"How fast is it?", heard("60 BPM", "120 BPM", "119 BPM", "240 BPM", "I can't tell."),
			combine.Result{Rule: combine.Median, Text: "The tempo is 120 BPM.", Windows: []int{0, 1, 2, 3}, Share: 0.8},
		},
		"one window": {
			"Tempo?", heard("97.54 beats per minute"),
			combine.Result{Rule: combine.Median, Text: "The tempo is 97.5 BPM.", Windows: []int{0}, Share: 1},
		},
		"the key of most windows": {
			"What key is it in?", heard("C# minor", "Db minor.", "The key is E major.", "It is in Db minor"),
			combine.Result{Rule: combine.Vote, Text: "The key is Db minor.", Windows: []int{0, 1, 3}, Share: 0.75},
		},
		"of equal votes what is said first": {
			"What key is it in?", heard("E major", "A minor"),
			combine.Result{Rule: combine.Vote, Text: "The key is E major.", Windows: []int{0}, Share: 0.5},
		},
		"the metre of most windows": {
			"What is the time signature?", heard("3/4", "4/4", "It is in 4/4."),
			combine.Result{Rule: combine.Vote, Text: "The time signature is 4/4.", Windows: []int{1, 2}, Share: 2.0 / 3},
		},
		"yes or no": {
			"Are there drums?", heard("Yes, there are drums.", "No.", "yes"),
			combine.Result{Rule: combine.Vote, Text: "Yes.", Windows: []int{0, 2}, Share: 2.0 / 3},
		},
		"all instruments, the most heard first": {
			"Which instruments do you hear?", heard("Drums and guitar.", "I hear guitar, no drums.", "guitar, violin"),
			combine.Result{Rule: combine.Union, Text: "Heard in the windows: guitar (3 of 3), drums (1 of 3), violin (1 of 3).", Windows: []int{0, 1, 2}, Share: 1},
		},
	} {
		got, ok := combine.Facts(c.question, c.answers)
		require.True(t, ok, name)
		require.InDelta(t, c.want.Share, got.Share, 1e-9, name)
		got.Share = c.want.Share
		require.Equal(t, c.want, got, name)
	}
}

func TestWeightDecidesAVote(t *testing.T) {
	t.Parallel()
	answers := heard("E major", "E major", "A minor")
	answers[2].Weight = 70
	got, ok := combine.Facts("What key is it in?", answers)
	require.True(t, ok)
	require.Equal(t, "The key is A minor.", got.Text)
	require.InDelta(t, 70.0/130, got.Share, 1e-9)
}

// What no rule fits is left to the model: descriptions, several facts at once, and facts that most answers do not name.
func TestWhatIsNoFactIsNotCombined(t *testing.T) {
	t.Parallel()
	for question, answers := range map[string][]combine.Answer{
		"Describe the music.":                heard("A slow waltz at 90 BPM in A minor."),
		"What are tempo and key?":            heard("90 BPM, A minor"),
		"What is the tempo of the track?":    heard("fast", "slow", "120 BPM"),
		"Is it happy or sad?":                heard("It is sad."),
		"Which instruments are played?":      heard("Something that I do not know."),
		"What is the key?":                   nil,
		"What is the tempo, then?":           {{Text: "120 BPM", Weight: 0}, {Text: "120 BPM", Weight: math.NaN()}},
		"Is there a monkey? A keyboard too?": heard("There may be."),
	} {
		_, ok := combine.Facts(question, answers)
		require.False(t, ok, question)
	}
}

func TestTagsAreCombinedFieldByField(t *testing.T) {
	t.Parallel()
	list := []tags.Tags{
		{TempoBPM: 120, Key: "A", Mode: "minor", Metre: "4/4", Instruments: []string{"drums", "bass"}, Genre: "rock", Mood: []string{"dark"}, Description: "Rock in A minor."},
		{TempoBPM: 60, Key: "A", Mode: "minor", Metre: "4/4", Instruments: []string{"drums", "tuba"}, Genre: "rock", Mood: []string{"dark", "tense"}, Description: "Slow rock."},
		{TempoBPM: 121, Key: "C", Mode: "major", Instruments: []string{"drums"}, Genre: "metal", Description: "Metal."},
		{TempoBPM: 119, Key: "A", Mode: "minor", Metre: "3/4", Instruments: []string{"bass", "drums"}, Genre: "rock"},
		{},
	}
	var answers []combine.Answer
	for i, v := range list {
		answers = append(answers, combine.Answer{Window: i, Text: v.String(), Weight: 10})
	}
	r, ok := combine.Tags(append(answers, combine.Answer{Window: 5, Text: "no tags", Weight: 1}))
	require.True(t, ok)
	got, err := tags.Parse([]byte(r.Text))
	require.NoError(t, err)
	require.Equal(t, tags.Tags{
		TempoBPM: 120, Key: "A", Mode: "minor", Metre: "4/4", Instruments: []string{"drums", "bass"}, Genre: "rock", Description: "Rock in A minor.",
	}, got)
	require.Equal(t, []int{0, 1, 2, 3, 4}, r.Windows)
	_, ok = combine.Tags(heard("no tags"))
	require.False(t, ok)
}

func TestTheModelIsAskedWithinALimit(t *testing.T) {
	t.Parallel()
	parts := []combine.Part{{StartS: 0, EndS: 30, Text: "Slow\nand  quiet."}, {StartS: 30, EndS: 61, Text: strings.Repeat("ä", 4000)}, {StartS: 61, EndS: 90, Text: "Loud."}}
	text := combine.Question("Describe it.", parts, 2000)
	require.LessOrEqual(t, len(text), 2000)
	require.True(t, utf8.ValidString(text))
	require.Contains(t, text, "0:00 to 0:30: Slow and quiet.\n0:30 to 1:01: ää")
	require.Contains(t, text, "1:01 to 1:30: Loud.\n")
	require.True(t, strings.HasSuffix(text, " Describe it."))
	require.Equal(t, "0:00 to 0:30: Slow and quiet.\n1:01 to 1:30: Loud.", combine.Join([]combine.Part{parts[0], parts[2]}, 500))
	require.Contains(t, combine.Question("Describe it.", parts, 10), "Describe it.", "the question itself is never cut")
}

// Answers are made by a model, and may be anything.
func FuzzCombine(f *testing.F) {
	f.Add("What is the tempo?", "120 BPM", "1e308 BPM", 1.0)
	f.Add("Tags", `{"tempo_bpm":120}`, `{"tempo_bpm":-1}`, 2.0)
	f.Add("Is it?", "yes", "No", 0.0)
	f.Fuzz(func(t *testing.T, question, a, b string, weight float64) {
		answers := []combine.Answer{{Window: 0, Text: a, Weight: weight}, {Window: 1, Text: b, Weight: 1}}
		check := func(r combine.Result, ok bool) {
			if !ok {
				return
			}
			if !(r.Share >= 0 && r.Share <= 1+1e-9) || len(r.Windows) == 0 || r.Text == "" {
				t.Fatalf("%+v", r)
			}
		}
		check(combine.Facts(question, answers))
		r, ok := combine.Tags(answers)
		check(r, ok)
		if ok && !json.Valid([]byte(r.Text)) {
			t.Fatal(r.Text)
		}
		if got := combine.Join([]combine.Part{{EndS: 3, Text: a}, {EndS: 4, Text: b}}, 100); len(got) > 100 {
			t.Fatal(got)
		}
	})
}

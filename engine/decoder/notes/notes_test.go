package notes

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// words is a vocabulary whose tokens are words and marks of punctuation, given numbers as they come.
type words struct {
	ids   map[string]int
	names []string
}

const end = 0 // ends an answer

func newWords() *words { return &words{ids: map[string]int{"</s>": end}, names: []string{"</s>"}} }

func (w *words) Plain(text string) ([]int, error) {
	var out []int
	for _, word := range strings.Fields(strings.NewReplacer(".", " . ", ",", " , ", ";", " ; ").Replace(text)) {
		if _, ok := w.ids[word]; !ok {
			w.ids[word] = len(w.names)
			w.names = append(w.names, word)
		}
		out = append(out, w.ids[word])
	}
	return out, nil
}

func (w *words) Piece(id int) ([]byte, error) { return []byte(w.names[id] + " "), nil }

func ptr(v float64) *float64 { return &v }

func sheet() *Sheet {
	music := map[string][]string{"sound": {"music"}}
	return &Sheet{
		Near: 0.04, Sure: "▁sure", Unsure: "▁unsure", MostSentences: 2,
		Slots: []Slot{
			{Name: "sound", Label: "▁sound", Values: []string{"▁music", "▁noise"}},
			{Name: "tempo", Label: "▁tempo", Values: []string{"▁80", "▁118", "▁120", "▁160"}, Sure: ptr(0.4)},
			{Name: "key", Label: "▁key", Values: []string{"▁Cmajor", "▁Aminor", "▁Eminor"}, Second: true, Sure: ptr(0.5)},
			{Name: "metre", Label: "▁metre", Values: []string{"▁3/4", "▁4/4"}},
			{Name: "drums", Label: "▁drums", Values: []string{"▁yes", "▁no"}},
			{Name: "piano", Label: "▁piano", Values: []string{"▁yes", "▁no"}},
			{Name: "organ", Label: "▁organ", Values: []string{"▁yes", "▁no"}, Bias: 2},
		},
		Sentences: []Sentence{
			{Text: "I can't tell."},
			{Text: "I hear no music.", When: map[string][]string{"sound": {"noise"}}},
			{Text: "The tempo is $tempo.", When: music, Sure: []string{"tempo"}},
			{Text: "The key is $key.", When: music, Sure: []string{"key"}},
			{Text: "Perhaps $key, or $second.", When: music, Unsure: []string{"key"}},
			{Text: "Yes, it is faster.", When: music, Asked: "faster"},
			{Text: "No, it is not faster.", When: music, Asked: "not faster"},
			{Text: "I hear $all.", When: music, Count: []int{1, 9}},
			{Text: "Yes, I hear piano.", When: map[string][]string{"piano": {"yes"}}},
			{Text: "No, I hear no piano.", When: map[string][]string{"piano": {"no"}}},
			{Text: "It is slow.", When: music, Tempo: []int{0, 100}},
		},
	}
}

// take notes with scores that favour the given words, one for each slot.
func take(t *testing.T, favour ...string) (*Notes, *words, []int) {
	t.Helper()
	v := newWords()
	m, err := New(sheet(), v, []int{end})
	require.NoError(t, err)
	n, line := m.Begin(), []int{m.First()}
	for _, word := range favour {
		scores := make([]float32, 64)
		scores[v.ids[word]] = 3
		tokens, err := n.Take(scores)
		require.NoError(t, err)
		line = append(line, tokens...)
	}
	require.True(t, n.Done())
	require.Len(t, line, m.Length())
	return n, v, line
}

// spell takes an answer to its end by preferring words, and returns its text and its confidence.
func spell(t *testing.T, n *Notes, v *words, question string, prefer ...string) (string, float64) {
	t.Helper()
	a, err := n.Constrain(question)
	require.NoError(t, err)
	var text []string
	for step := range 64 {
		scores := make([]float32, 64)
		for i, word := range prefer {
			scores[v.ids[word]] = float32(10 - i)
		}
		scores[end] = 100 // at the first chance
		require.NoError(t, a.Mask(scores))
		best := 0
		for i, s := range scores {
			if s > scores[best] {
				best = i
			}
		}
		require.False(t, math.IsInf(float64(scores[best]), -1), "step %d allows nothing", step)
		require.True(t, a.Allows(best))
		if best == end {
			return strings.Join(text, " "), a.Confidence()
		}
		require.NoError(t, a.Accept(best))
		text = append(text, v.names[best])
	}
	t.Fatal("the answer has no end")
	return "", 0
}

func TestNotesAreALineOfLabelsAndValues(t *testing.T) {
	t.Parallel()
	_, v, line := take(t, "music", "120", "Aminor", "3/4", "no", "yes", "no")
	var said []string
	for _, id := range line {
		said = append(said, v.names[id])
	}
	// 118 and 120 are one tempo to a listener, and together sure; the organ's bias outweighs a score of 3 for no only below it.
	require.Equal(t, "sound music tempo 120 sure key Aminor Cmajor sure metre 3/4 drums no piano yes organ no", strings.Join(said, " "))
}

func TestAnswersSayOnlyWhatTheNotesAllow(t *testing.T) {
	t.Parallel()
	n, v, _ := take(t, "music", "120", "Aminor", "3/4", "yes", "yes", "no")
	said, confidence := spell(t, n, v, "tempo?", "The", "tempo")
	require.Equal(t, "The tempo is 120 .", said)
	require.InDelta(t, (math.Exp(3)+1)/(math.Exp(3)+3), confidence, 1e-6)

	said, _ = spell(t, n, v, "piano?", "No", "I", "no")
	require.NotContains(t, said, "piano .", "the notes say that there is a piano: %s", said)
	said, confidence = spell(t, n, v, "instruments", "I", "hear")
	require.Equal(t, "I hear piano and drums .", said)
	require.Zero(t, confidence)
	said, _ = spell(t, n, v, "slow?", "It")
	require.NotContains(t, said, "slow")
}

func TestComparisonsAreTrue(t *testing.T) {
	t.Parallel()
	n, v, _ := take(t, "music", "120", "Aminor", "3/4", "yes", "yes", "no")
	for question, want := range map[string]string{"faster than 100?": "Yes , it is faster .", "faster than 130 bpm": "No , it is not faster ."} {
		for _, lean := range []string{"Yes", "No"} {
			said, _ := spell(t, n, v, question, lean, "it", "faster")
			if strings.Contains(said, "faster") {
				require.Equal(t, want, said, question)
			}
		}
	}
}

func TestSentencesFollowEachOtherAndDoNotRepeat(t *testing.T) {
	t.Parallel()
	n, v, _ := take(t, "music", "120", "Aminor", "3/4", "yes", "yes", "no")
	a, err := n.Constrain("tempo and key")
	require.NoError(t, err)
	accept := func(text string) {
		ids, err := v.Plain(text)
		require.NoError(t, err)
		for _, id := range ids {
			require.NoError(t, a.Accept(id), text)
		}
	}
	require.False(t, a.Allows(end), "an answer is not empty")
	accept("The tempo is 120.")
	require.True(t, a.Allows(end))
	require.ErrorContains(t, a.Accept(v.ids["tempo"]), "not allowed")
	accept("The key")
	require.False(t, a.Allows(end), "a sentence is whole")
	accept("is Aminor.")
	require.True(t, a.Allows(end))
	require.False(t, a.Allows(v.ids["I"]), "two sentences are the most")
}

func TestAnUnsureKeyIsSaidWithItsRunnerUp(t *testing.T) {
	t.Parallel()
	v := newWords()
	m, err := New(sheet(), v, []int{end})
	require.NoError(t, err)
	n := m.Begin()
	for _, favour := range []map[string]float32{{"music": 3}, {"120": 3}, {"Eminor": 0.3, "Aminor": 0.2}, {"3/4": 1}, {"no": 1}, {"no": 1}, {"no": 1}} {
		scores := make([]float32, 64)
		for word, s := range favour {
			scores[v.ids[word]] = s
		}
		_, err := n.Take(scores)
		require.NoError(t, err)
	}
	said, _ := spell(t, n, v, "key", "The", "key", "Perhaps")
	require.NotContains(t, said, "The key is")
	said, confidence := spell(t, n, v, "key", "Perhaps")
	require.Equal(t, "Perhaps Eminor , or Aminor .", said)
	require.Less(t, confidence, 0.5)
	said, _ = spell(t, n, v, "instruments", "I", "hear")
	require.Equal(t, "I hear organ .", said, "the bias of 2 outweighs a score of 1")
}

func TestWithoutMusicOnlyThatIsSaid(t *testing.T) {
	t.Parallel()
	n, v, _ := take(t, "noise", "120", "Aminor", "3/4", "yes", "yes", "no")
	for _, lean := range []string{"The", "Yes", "I"} {
		said, _ := spell(t, n, v, "faster than 100", lean, "tempo", "hear")
		require.NotRegexp(t, `120|faster|Aminor`, said)
	}
}

func TestQuestionsAreReadForWhatTheyName(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]asked{
		"is it faster than 120?":      {number: 120},
		"120bpm or 3/4":               {number: 120, metres: []string{"3/4"}},
		"is it in c# minor":           {keys: []string{"Db minor"}},
		"b flat major, or G major?":   {keys: []string{"Bb major", "G major"}},
		"Eb maj":                      {keys: []string{"Eb major"}},
		"a minor problem with 6 / 8":  {keys: []string{"A minor"}, metres: []string{"6/8"}},
		"what is it":                  {},
		"Is there a HORN, or 2 horns": {words: map[string]bool{"horn": true, "horns": true}},
	} {
		require.Equal(t, want, readQuestion(text, []Sentence{{Words: []string{"horn", "horns"}}, {Words: []string{"piano"}}}), text)
	}
}

// TestSentencesAreHeldToWhatTheQuestionNames: a question about one family is not answered about another, and nothing is said yes or no to that was not named.
func TestSentencesAreHeldToWhatTheQuestionNames(t *testing.T) {
	t.Parallel()
	n := &state{value: map[string]string{"tempo": "89", "key": "Cmajor", "metre": "4/4"}}
	piano, organ := &Sentence{Text: "piano", Words: []string{"piano"}}, &Sentence{Text: "organ", Words: []string{"organ"}}
	both := []Sentence{*piano, *organ}
	said := func(x *Sentence, question string) bool { return n.allows(x, readQuestion(question, both), 0.04) }
	require.True(t, said(piano, "is there a piano?"))
	require.False(t, said(organ, "is there a piano?"))
	require.True(t, said(organ, "is there a ukulele?"), "no sentence asks for the word")
	for _, relation := range []string{"key", "other key", "metre", "other metre"} {
		require.False(t, said(&Sentence{Asked: relation}, "is it good?"), relation)
	}
	mode := &Sentence{Text: "Yes, it is in major: $key.", Asked: "no key"}
	require.True(t, said(mode, "is it in major?"))
	require.True(t, said(mode, "is this in a major key?"), "an article is no A")
	require.False(t, said(mode, "is this in the key of a major?"))
	require.False(t, said(mode, "is this the A major scale?"))
	require.False(t, said(mode, "is it in D major?"), "C major is no D major")
	require.True(t, said(&Sentence{Asked: "other key"}, "is it in D major?"))
	require.True(t, said(&Sentence{Asked: "far"}, "is it 120 bpm?"), "too slow is as far as too fast")
	require.True(t, said(&Sentence{Asked: "far"}, "is it 60 bpm?"))
	require.False(t, said(&Sentence{Asked: "far"}, "is it 90 bpm?"))
}

func TestConfidenceFollowsTheCalibration(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 0.8, calibrated(0.8, Slot{}), 1e-9)
	require.InDelta(t, 0.5, calibrated(0.5, Slot{Scale: 3}), 1e-9)
	require.Less(t, calibrated(0.9, Slot{Scale: 0.5}), 0.9)
	require.InDelta(t, 1/(1+math.Exp(1)), calibrated(0.5, Slot{Shift: -1}), 1e-9)
}

func TestASheetIsCheckedAsAWhole(t *testing.T) {
	t.Parallel()
	s := sheet()
	s.Near, s.MostSentences = 2, 0
	s.Slots[0].Values = s.Slots[0].Values[:1]
	s.Slots[6].Name = "piano"
	s.Sentences = append(s.Sentences, Sentence{Text: "$nothing"}, Sentence{Text: "x", When: map[string][]string{"cello": {"yes"}}}, Sentence{Text: "y", Asked: "louder"})
	raw, err := json.Marshal(s)
	require.NoError(t, err)
	_, err = Parse(raw)
	for _, fault := range []string{"near", "most_sentences", "slot sound has 1", "piano occurs twice", "$nothing", `"cello"`, "louder"} {
		require.ErrorContains(t, err, fault)
	}
	_, err = Parse([]byte(`{"slot":[]}`))
	require.ErrorContains(t, err, "slot")
}

func FuzzParse(f *testing.F) {
	raw, err := json.Marshal(sheet())
	require.NoError(f, err)
	f.Add(string(raw), "is it faster than 120 in c minor 3/4")
	f.Add(`{}`, "")
	f.Fuzz(func(_ *testing.T, raw, question string) {
		readQuestion(question, []Sentence{{Words: []string{"minor"}}})
		s, err := Parse([]byte(raw))
		if err != nil {
			return
		}
		m, err := New(s, newWords(), []int{end})
		if err != nil {
			return
		}
		n := m.Begin()
		for !n.Done() {
			if _, err := n.Take(make([]float32, 1<<13)); err != nil {
				return
			}
		}
		_, _ = n.Constrain(question) // must not panic
	})
}

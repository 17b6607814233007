package check

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/lab/dataset/facts"
	"github.com/larkstream/larkstream/lab/dataset/rules"
	"github.com/larkstream/larkstream/lab/eval"
)

func no() *bool  { v := false; return &v }
func yes() *bool { v := true; return &v }

// waltz is a clip of which much is known.
func waltz(t *testing.T) facts.Facts {
	t.Helper()
	f, err := facts.Of("x/waltz", "x", 25, facts.Labels{
		TempoBPM: 119.6, Key: "Eb minor", Metre: "3/4", Instruments: []string{"violin", "piano"}, Complete: true, Drums: no(), Genres: []string{"classical"},
		Tags: []string{"slow", "no voice"}, Composer: "Schubert", Composition: "Piano Quintet in A major", Movement: "2. Andante", Ensemble: "Piano Quintet",
	}, map[string]json.RawMessage{
		"downbeats_mir":                 json.RawMessage(`[{"time":0.4,"beat_number":1},{"time":0.9,"beat_number":2},{"time":1.4,"beat_number":3},{"time":1.91,"beat_number":1}]`),
		"chords":                        json.RawMessage(`[{"start_time":0.4,"end_time":1.91,"chord":"D#:min"},{"start_time":1.91,"end_time":4,"chord":"Ab:maj"},{"start_time":4,"end_time":5,"chord":"N"}]`),
		"loudness_lufs":                 json.RawMessage(`-14.2`),
		"tempo_in_beats_per_minute_mir": json.RawMessage(`60.1`),
	})
	require.NoError(t, err)
	return f
}

func TestFacts(t *testing.T) {
	t.Parallel()
	f := waltz(t)
	require.InDelta(t, 119.6, f.TempoBPM, 1e-9, "the collection's word counts more than a measurement")
	require.NotContains(t, string(f.Shown), "60.1", "and nobody is shown the other")
	require.Equal(t, []string{"D#m", "Ab"}, f.ChordNames())
	require.Len(t, f.Beats, 4)
	g, err := facts.Of("x/y", "x", 0, facts.Labels{}, map[string]json.RawMessage{
		"tempo_in_beats_per_minute_mir": json.RawMessage("60"), "tempo_in_beats_per_minute_madmom": json.RawMessage("120"),
	})
	require.NoError(t, err)
	require.InDelta(t, 120, g.TempoBPM, 1e-9, "another tool was asked for: it goes before ours")
	_, err = facts.Of("x/y", "x", 0, facts.Labels{}, map[string]json.RawMessage{"key": json.RawMessage("3")})
	require.ErrorContains(t, err, "field key")
}

func TestTrueAnswers(t *testing.T) {
	t.Parallel()
	k := Of(waltz(t))
	for _, answer := range []string{
		"The tempo is 120 BPM.", "About 119.6 beats per minute.", "Felt in half time it is 60 BPM.", "It is in E flat minor.", "The key is D# minor, which is dark.",
		"It is in 3/4 time, three beats to a bar.", "I hear a violin and a piano.", "Strings and a piano.", "There are no drums.", "No drums, and no guitar.",
		"A calm piece of classical music by Schubert, the Piano Quintet in A major.", "The chords are Ebm and Ab.", "The first downbeat is at 0.4 seconds.",
		"The Ab major chord follows the D# minor chord.", "Its loudness is -14.2 LUFS.", "Nobody sings, there is no voice.", "Two chords are used.",
		"The second downbeat comes at 0:02.", "1. It is slow.\n2. It is in Eb minor.", "From 1.9 to 4 seconds the chord is Ab.", "A beat lasts 0.5 seconds.",
	} {
		require.Equal(t, Fault{}, Pair(k, "What do you hear in this clip?", answer, nil), answer)
	}
}

func TestFalseAnswers(t *testing.T) {
	t.Parallel()
	k := Of(waltz(t))
	for answer, kind := range map[string]string{
		"The tempo is 121 BPM.": Number, "It has 25 BPM.": Number, "About 119.5 beats per minute.": Number, "It was recorded in 1985.": Number,
		"The first downbeat is at 7 seconds.": Number, "At 0:17 it changes.": Number, "Four beats to a bar.": Number, "Three violins play.": Number, "It has 7 bars.": Number,
		"It is in E major.": Key, "It is in A major.": "", "The key is Eb major.": Key, "The D minor chord is used.": Chord, "The chords are Ebm and G7.": Chord,
		"The progression goes from C to Ab.": Chord, "It is in 4/4 time.": Metre, "I hear a guitar.": Instrument, "An electric piano and a violin.": Instrument,
		"A cello plays.": Instrument, "There are drums.": Instrument, "There is no piano.": Instrument, "A jazz piece.": Genre, "This is country music.": Genre,
		"It is by Franz Liszt.": Name, "Beethoven wrote it.": Name, "It was recorded in Vienna.": Name,
	} {
		require.Equal(t, kind, Pair(k, "What do you hear in this clip?", answer, nil).Kind, answer)
	}
}

func TestNothingKnownMeansNothingTrue(t *testing.T) {
	t.Parallel()
	f, err := facts.Of("x/empty", "x", 0, facts.Labels{}, nil)
	require.NoError(t, err)
	k := Of(f)
	for _, answer := range []string{"120 BPM.", "C major.", "The chords are C and G.", "3/4.", "A piano.", "No drums.", "It is rock.", "A song by Queen.", "It lasts 10 seconds."} {
		require.True(t, Pair(k, "What do you hear in this clip?", answer, nil).Found(), answer)
	}
	require.False(t, Pair(k, "What do you hear in this clip?", "It is calm and slow.", nil).Found())
}

func TestForm(t *testing.T) {
	t.Parallel()
	k := Of(waltz(t))
	for _, c := range []struct{ question, answer, kind string }{
		{"", "It is slow.", Structure},
		{"What?", " ", Structure},
		{"What is this?", "It is ### slow.", Structure},
		{"What is this?", `{"answer": "slow"}`, Structure},
		{"Hm", "It is slow.", Length},
		{"What is this piece like?", "Das ist ein Walzer und er ist langsam.", Language},
		{"What is this?", "это медленная музыка", Language},
		{"What is the tempo?", "The tempo is not specified here.", Phrase},
		{"Who is the composer of this?", "Schubert.", Phrase},
		{"What is the duration?", "25 seconds.", Phrase},
		{"What is the key?", "According to the metadata the key is Eb minor.", Leak},
		{"What is in the JSON?", "The key is Eb minor.", Leak},
		{"What is it?", "As an AI assistant, I am unable to hear it.", Phrase},
		{"Is it packed with energy?", "It is slow.", ""},
		{"What does the guitar do here?", "It is slow.", Instrument},
		{"Is there a guitar in this?", "No guitar is playing.", ""},
		{"What is the tempo of this?", "What is the tempo of this?", Structure},
	} {
		require.Equal(t, c.kind, Pair(k, c.question, c.answer, nil).Kind, "%s %s", c.question, c.answer)
	}
}

func TestAnswersAboutAnotherClip(t *testing.T) {
	t.Parallel()
	other, err := facts.Of("x/other", "x", 25, facts.Labels{TempoBPM: 95, Key: "G major"}, nil)
	require.NoError(t, err)
	k, others := Of(waltz(t)), []*Known{Of(other)}
	f := Pair(k, "What is the tempo of this?", "It is in G major at 95 BPM.", others)
	require.Equal(t, WrongClip, f.Kind)
	require.Contains(t, f.Detail, "x/other")
	require.Equal(t, Number, Pair(k, "What is the tempo of this?", "It has 96 BPM.", others).Kind)
}

// Whatever rules make is true by the checks, and is no question that evaluations ask.
func TestRulesPassTheChecks(t *testing.T) {
	t.Parallel()
	keys := []string{"C major", "F# major", "Bb minor", "Ab major", "G# minor"}
	wordings, err := eval.ReadWordings("")
	require.NoError(t, err)
	asked := map[string]bool{}
	for _, list := range wordings {
		for _, q := range list {
			asked[q] = true
		}
	}
	kinds := map[string]int{}
	for seed := range uint64(60) {
		r, err := rules.New(seed, nil)
		require.NoError(t, err)
		f := waltz(t)
		f.TempoBPM, f.Key, f.Complete = 41.3+float64(seed)*2.7, keys[seed%5], seed%2 == 0
		f.Moods, f.Genres = []string{"dark", "calm"}, []string{"jazz", "hip hop"}
		if seed%3 == 0 {
			f.Drums = yes()
		}
		f.Captions = []string{"A calm piano piece with a slow violin melody."}
		k := Of(f)
		for _, family := range []string{rules.Understanding, rules.Captioning} {
			pairs := r.Make(family, &f)
			require.NotEmpty(t, pairs)
			require.Equal(t, pairs, r.Make(family, &f), "the seed decides")
			for _, p := range pairs {
				kinds[family]++
				require.Equal(t, Fault{}, Pair(k, p.Question, p.Answer, nil), "%s %s", p.Question, p.Answer)
				require.False(t, asked[p.Question], "%s is a question of lark eval", p.Question)
			}
		}
	}
	require.GreaterOrEqual(t, kinds[rules.Understanding], 60*12)
}

func TestRulesHaveManyWordings(t *testing.T) {
	t.Parallel()
	r, err := rules.New(1, nil)
	require.NoError(t, err)
	for _, fact := range []string{"tempo", "key", "metre", "instruments"} {
		require.GreaterOrEqual(t, r.Wordings(fact), 10, fact)
	}
	for _, raw := range []string{"[]", "{}", `{"tempo": {"questions": ["How fast?"]}}`} {
		_, err := rules.New(1, []byte(raw))
		require.Error(t, err, raw)
	}
}

func FuzzPair(f *testing.F) {
	f.Add("What is the tempo?", "It is 120 BPM in Eb minor, 3/4, with the chords Ebm and Ab.")
	f.Add("", "0:99 1/0 A A# Bb:min ♯♭")
	f.Fuzz(func(t *testing.T, question, answer string) {
		k := Of(waltz(t))
		Pair(k, question, answer, []*Known{k})
	})
}

// Phrases are found as whole words, in any case, wherever they stand.
func TestPhrasesAreWholeWords(t *testing.T) {
	t.Parallel()
	for text, found := range map[string]bool{
		"pack": true, "A PACK of wolves": true, "the pacK.": true, "unpack, pack": true, "épack": true, "unpack": false, "packs": false, "pack_1": false, "pack1 pack2": false, "": false,
	} {
		require.Equal(t, found, firstPhrase([]phrase{{Phrase, "pack", folded("pack")}}, text).Found(), text)
	}
	require.True(t, firstPhrase([]phrase{{Phrase, "is not", folded("is not")}}, "iſ not").Found(), "a long s is an s")
	for _, p := range slices.Concat(answerPhrases, questionPhrases, bothPhrases) {
		require.True(t, hasWords(folded("x, "+strings.ToUpper(p.text)+"!"), p.folded), p.text)
	}
}

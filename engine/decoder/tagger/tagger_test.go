package tagger_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/decodertest"
	"github.com/larkstream/larkstream/engine/decoder/tagger"
	"github.com/larkstream/larkstream/engine/decoder/testdecoder"
	"github.com/larkstream/larkstream/engine/tags"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBehaviour(t *testing.T) {
	t.Parallel()
	decodertest.Run(t, 32, func(*testing.T) contract.Engine { return tagger.Wrap(testdecoder.New(32, 0)) })
}

// model answers by the words of the question, as far as it knows any.
type model struct {
	contract.Engine
	sentences map[string]string
	err       error
	// fails is a word of a question that has no answer.
	fails string
	seen  []contract.Request
	able  bool
}

const cannot = "I can't tell that from the audio."

func (m *model) Constrains(schema string) bool { return m.able && schema == contract.SchemaTags }

func (m *model) Answer(_ context.Context, req contract.Request) ([]contract.Result, error) {
	m.seen = append(m.seen, req)
	if m.err != nil {
		return nil, m.err
	}
	began := time.Unix(1000, 0)
	var results []contract.Result
	for i, q := range req.Questions {
		r := contract.Result{
			Index: q.Index, Text: cannot, PromptTokens: 10, OutputTokens: 2, Finish: contract.FinishStop,
			Began: began, Ended: began.Add(time.Duration(i+2) * time.Second), Prefill: time.Second,
		}
		for word, sentence := range m.sentences {
			if strings.Contains(q.Text, word) {
				r.Text = sentence
			}
		}
		if m.fails != "" && strings.Contains(q.Text, m.fails) {
			r = contract.Result{Index: q.Index, Err: contract.ErrPromptTooLong, PromptTokens: 600}
		}
		results = append(results, r)
	}
	return results, nil
}

func nano() map[string]string {
	return map[string]string{
		"tempo": "The tempo is about 105 BPM.", "key": "The key is C# minor.", "time signature": "The metre is 3/4.",
		"instruments": "I hear piano and bass.", "drums": "Yes, there are drums.", "Describe": "A piece\nwith piano.",
	}
}

func ask(t *testing.T, m *model, questions ...string) ([]contract.Result, error) {
	t.Helper()
	req := contract.Request{
		Soft: decodertest.Soft(1, 5, 32), Schema: contract.SchemaTags, Job: "job-1", Decode: contract.Decode{MaxTokens: 3, Temperature: 0.5, Seed: 7},
	}
	for i, text := range questions {
		req.Questions = append(req.Questions, contract.Question{Index: 3 + i, Text: text})
	}
	return tagger.Wrap(m).Answer(t.Context(), req)
}

func TestSentencesBecomeTags(t *testing.T) {
	t.Parallel()
	m := &model{sentences: nano()}
	results, err := ask(t, m, "Tag this.", "Tag it again.")
	require.NoError(t, err)
	require.Len(t, results, 2)
	for i, r := range results {
		require.NoError(t, r.Err)
		require.Equal(t, 3+i, r.Index)
		got, err := tags.Parse([]byte(r.Text))
		require.NoError(t, err)
		require.Equal(t, tags.Tags{
			TempoBPM: 105, Key: "Db", Mode: "minor", Metre: "3/4", Instruments: []string{"piano", "bass", "drums"}, Description: "A piece with piano.",
		}, got, "genre and mood were refused")
		n := len(m.seen[0].Questions)
		require.Equal(t, 10*n, r.PromptTokens)
		require.Equal(t, 2*n, r.OutputTokens)
		require.Equal(t, time.Duration(n)*time.Second, r.Decode, "from the first prefill to the last end")
		require.Equal(t, contract.FinishStop, r.Finish)
	}
	require.Len(t, m.seen, 1, "one request on the one soft prompt")
	own := m.seen[0]
	require.Empty(t, own.Schema)
	require.Equal(t, "job-1", own.Job)
	require.Equal(t, contract.Decode{Temperature: 0.5, Seed: 7}, own.Decode, "the sentences have the model's own limit")
}

func TestWhatTheModelCannotTellIsUnknown(t *testing.T) {
	t.Parallel()
	results, err := ask(t, &model{}, "Tag this.")
	require.NoError(t, err)
	require.Equal(t, tags.Tags{}.String(), results[0].Text)

	for name, c := range map[string]struct{ word, sentence, description string }{
		"a tempo of nothing": {"tempo", "About 9000 BPM.", ""},
		"two keys":           {"key", "A major or F# minor.", ""},
		"chatter":            {"time signature", "It has a nice swing.", ""},
		"negation":           {"instruments", "There is no piano.", ""},
		"no drums":           {"drums", "No, I hear no drums.", ""},
		"off the list":       {"genre", "Vaporwave.", ""},
	} {
		results, err := ask(t, &model{sentences: map[string]string{c.word: c.sentence}}, "Tag this.")
		require.NoError(t, err, name)
		require.Equal(t, tags.Tags{}.String(), results[0].Text, name)
	}
}

func TestTheDrumsQuestionSettlesDrums(t *testing.T) {
	t.Parallel()
	m := &model{sentences: map[string]string{"instruments": "I hear piano and drums.", "drums": "No, I hear no drums."}}
	results, err := ask(t, m, "Tag this.")
	require.NoError(t, err)
	require.Contains(t, results[0].Text, `"instruments":["piano"]`)
}

func TestAnyTextMakesValidTags(t *testing.T) {
	t.Parallel()
	for _, text := range []string{
		strings.Repeat("word ", 100), strings.Repeat("ü", 500), "\x00\x1b[31m \xff red", strings.Join(tags.Instruments(), " "), strings.Join(tags.Moods(), ", "),
		strings.Join(tags.Genres(), " "), "", " \n ", `"}{"`,
	} {
		m := &model{sentences: map[string]string{"": text}}
		results, err := ask(t, m, "Tag this.")
		require.NoError(t, err)
		require.NoError(t, results[0].Err, text)
		got, err := tags.Parse([]byte(results[0].Text))
		require.NoError(t, err)
		require.LessOrEqual(t, len([]rune(got.Description)), tags.MaxDescription)
	}
}

func TestFaultsOfTheEngineAreThoseOfTheAnswer(t *testing.T) {
	t.Parallel()
	results, err := ask(t, &model{sentences: nano(), fails: "Describe"}, "Tag this.", "And this.")
	require.NoError(t, err)
	for _, r := range results {
		require.ErrorIs(t, r.Err, contract.ErrPromptTooLong)
		require.ErrorContains(t, r.Err, "asking for the description")
	}
	broken := errors.New("out of memory")
	_, err = ask(t, &model{err: broken}, "Tag this.")
	require.ErrorIs(t, err, broken)
}

func TestFreeTextPassesThrough(t *testing.T) {
	t.Parallel()
	m := &model{sentences: nano()}
	results, err := tagger.Wrap(m).Answer(t.Context(), contract.Request{Questions: []contract.Question{{Text: "What key?"}}})
	require.NoError(t, err)
	require.Equal(t, "The key is C# minor.", results[0].Text)
}

func TestAnEngineThatConstrainsIsLeftAlone(t *testing.T) {
	t.Parallel()
	able := &model{able: true}
	require.Same(t, able, tagger.Wrap(able))
	wrapped, ok := tagger.Wrap(&model{}).(contract.Constrainer)
	require.True(t, ok)
	require.True(t, wrapped.Constrains(contract.SchemaTags))
	require.False(t, wrapped.Constrains("poem"))
}

// scorer is a model that tells likelihoods.
type scorer struct{ *model }

func (scorer) Likelihoods(context.Context, contract.GivenRequest) ([][]contract.Likelihood, error) {
	return [][]contract.Likelihood{{{LogProb: -2, Tokens: 1}}}, nil
}

func TestLikelihoodsPassThrough(t *testing.T) {
	t.Parallel()
	told, err := decoder.Likelihoods(t.Context(), tagger.Wrap(scorer{&model{}}), contract.GivenRequest{})
	require.NoError(t, err)
	require.InDelta(t, -2, told[0][0].LogProb, 0)
	for _, e := range []contract.Engine{tagger.Wrap(&model{}), &model{}} {
		_, err = decoder.Likelihoods(t.Context(), e, contract.GivenRequest{})
		require.ErrorIs(t, err, contract.ErrNoLikelihood)
	}
}

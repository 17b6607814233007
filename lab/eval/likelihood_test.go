package eval

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// scoring is a fake that tells likelihoods by a function of the file's name, the question and the choice.
type scoring struct {
	*fake
	likely func(file, question, choice string) (logProb float64, tokens int)
	scored atomic.Int64
	short  bool
}

func (f *scoring) AskAndScore(ctx context.Context, path string, questions []string, options []Options) ([]string, [][]Likelihood, error) {
	answers, err := f.Ask(ctx, path, questions)
	if err != nil {
		return nil, nil, err
	}
	var out [][]Likelihood
	for _, o := range options {
		f.scored.Add(1)
		var of []Likelihood
		for _, c := range o.Choices {
			sum, tokens := f.likely(filepath.Base(path), o.Question, c)
			of = append(of, Likelihood{c, sum, tokens})
		}
		if f.short {
			of = of[1:]
		}
		out = append(out, of)
	}
	return answers, out, nil
}

// fourChoices are eight clips of which every other is loud; "quiet" takes more tokens.
func fourChoices(t *testing.T) string {
	t.Helper()
	var lines []string
	for i := range 8 {
		answer := []string{"loud", "quiet"}[i%2]
		lines = append(lines, fmt.Sprintf(`{"id":"clip%d","audio":"%d.wav","labels":{"multiple_choice":[{"question":"How is it?","choices":["loud","quiet","both","none"],"answer":%q}]}}`, i, i, answer))
	}
	return newSet(t, lines...)
}

// scoringTruly finds the true choice the likeliest per token, and by the sum always the shorter one.
func scoringTruly(t *testing.T) *scoring {
	return &scoring{fake: hearing(t), likely: func(file, _, choice string) (float64, int) {
		tokens := map[string]int{"loud": 1, "quiet": 4, "both": 3, "none": 3}[choice]
		perToken := -2.0
		if (choice == "loud") == (int(file[0]-'0')%2 == 0) {
			perToken = -1
		}
		if choice == "both" || choice == "none" {
			perToken = -9
		}
		return perToken * float64(tokens), tokens
	}}
}

func TestChoicesByLikelihood(t *testing.T) {
	t.Parallel()
	model := scoringTruly(t)
	cfg := Config{Set: fourChoices(t), Seed: 5, Tasks: []string{TaskChoice, TaskGrounding}, Choices: []string{ChoicesText, ChoicesLikelihood}, Cache: filepath.Join(t.TempDir(), "answers")}
	rep, err := Run(t.Context(), model, cfg)
	require.NoError(t, err)
	require.Equal(t, []string{TaskChoice, choiceLikelihood, choiceLikelihoodSum, "grounding_choice", "grounding_choice_likelihood", TaskGrounding}, rep.Order)
	require.InDelta(t, 1, rep.Summary[TaskChoice].Value, 1e-9)
	require.InDelta(t, 1, rep.Summary[choiceLikelihood].Value, 1e-9)
	require.InDelta(t, 0.5, rep.Summary[choiceLikelihoodSum].Value, 1e-9, "by the sum the short choice always wins")
	for _, name := range []string{choiceLikelihood, choiceLikelihoodSum} {
		f := rep.Summary[name]
		require.Equal(t, 8, f.N)
		require.InDelta(t, *rep.Summary[TaskChoice].Constant, *f.Constant, 1e-12)
		require.Less(t, *f.Constant, 1.0)
		require.LessOrEqual(t, f.Low, f.Value)
		require.GreaterOrEqual(t, f.High, f.Value)
	}
	require.Less(t, rep.Summary[choiceLikelihoodSum].Low, 0.5, "it has an interval")

	var items []Item
	for _, i := range rep.Items {
		if i.Task == choiceLikelihood {
			items = append(items, i)
		}
	}
	require.Len(t, items, 8)
	for _, i := range items {
		require.Equal(t, "How is it?", i.Question, "the options are not shown to the model")
		require.Len(t, i.Likelihoods, 4)
		at, err := strconv.Atoi(i.Read)
		require.NoError(t, err)
		for _, l := range i.Likelihoods {
			require.LessOrEqual(t, l.PerToken(), i.Likelihoods[at].PerToken())
			require.Contains(t, i.Answer, fmt.Sprintf("%s: %.2f", l.Choice, l.PerToken()))
		}
		require.False(t, i.Unread())
	}

	var page bytes.Buffer
	require.NoError(t, WritePage(t.Context(), &page, rep, cfg.Set))
	require.Contains(t, page.String(), "<td>choice_likelihood<td>accuracy, likeliest choice by the mean")
	require.Contains(t, page.String(), "<td>choice_likelihood_sum<td>")
	require.Contains(t, page.String(), fmt.Sprintf("%s to %s", digits(rep.Summary[choiceLikelihoodSum].Low), digits(rep.Summary[choiceLikelihoodSum].High)))

	asked, scored := model.asked.Load(), model.scored.Load()
	require.EqualValues(t, 8, scored, "the same question with the same choices is scored once a clip")
	again, err := Run(t.Context(), model, cfg)
	require.NoError(t, err)
	require.Equal(t, rep, again)
	require.Equal(t, asked, model.asked.Load(), "likelihoods are kept")
	require.Equal(t, scored, model.scored.Load())
}

// A model that does not listen scores the same with foreign audio; one that listens falls.
func TestLikelihoodsAreGrounded(t *testing.T) {
	t.Parallel()
	cfg := Config{Set: fourChoices(t), Seed: 5, Tasks: []string{TaskChoice, TaskGrounding}, Choices: []string{ChoicesLikelihood}}
	hears, err := Run(t.Context(), scoringTruly(t), cfg)
	require.NoError(t, err)
	require.NotContains(t, hears.Summary, TaskChoice)
	require.Len(t, hears.Grounding, 1)
	require.Equal(t, choiceLikelihood, hears.Grounding[0].Task)
	require.True(t, hears.Grounding[0].Hears && hears.Grounding[0].Beats)

	deaf := &scoring{fake: hearing(t), likely: func(_, _, choice string) (float64, int) {
		if choice == "loud" {
			return -1, 1
		}
		return -2, 1
	}}
	rep, err := Run(t.Context(), deaf, cfg)
	require.NoError(t, err)
	require.InDelta(t, 0.5, rep.Summary[choiceLikelihood].Value, 1e-9)
	require.False(t, rep.Grounding[0].Hears)
	require.Zero(t, deaf.asked.Load(), "no question was asked")
}

func TestEqualLikelihoodsTakeTheChoiceThatIsShownFirst(t *testing.T) {
	t.Parallel()
	same := &scoring{fake: hearing(t), likely: func(string, string, string) (float64, int) { return -1, 1 }}
	rep, err := Run(t.Context(), same, Config{Set: fourChoices(t), Seed: 5, Tasks: []string{TaskChoice}, Choices: []string{ChoicesLikelihood}})
	require.NoError(t, err)
	for _, i := range rep.Items {
		require.Equal(t, "0", i.Read)
	}
}

func TestLikelihoodsThatCannotBe(t *testing.T) {
	t.Parallel()
	cfg := Config{Set: fourChoices(t), Tasks: []string{TaskChoice}, Choices: []string{ChoicesLikelihood}}
	_, err := Run(t.Context(), hearing(t), cfg)
	require.ErrorContains(t, err, "needs a model in this process")
	model := scoringTruly(t)
	model.short = true
	_, err = Run(t.Context(), model, cfg)
	require.ErrorContains(t, err, "3 likelihoods of 4 choices")
	model = scoringTruly(t)
	model.err = func(string) error { return errors.New("power cut") }
	_, err = Run(t.Context(), model, cfg)
	require.ErrorContains(t, err, "power cut")
	cfg.Choices = []string{"guess"}
	_, err = Run(t.Context(), model, cfg)
	require.ErrorContains(t, err, `choices by "guess" are not known`)
}

// TestTheModelsOwnAnswerIsItsChoice: lark-nano's own answer about the demo piece is likelier than its answers to other questions, and than another tempo.
func TestTheModelsOwnAnswerIsItsChoice(t *testing.T) {
	t.Parallel()
	models := filepath.Join("..", "..", "models")
	song, err := filepath.Abs(filepath.Join(models, "demo", "larksong.mp3"))
	require.NoError(t, err)
	model, err := OpenLocal(t.Context(), filepath.Join(models, "lark-nano"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, model.Close()) })
	questions := []string{"What is the tempo?", "Which key is this in?", "Which instruments do you hear?"}
	own, err := model.Ask(t.Context(), song, questions)
	require.NoError(t, err)
	var choices []Choice
	for i, q := range questions {
		choices = append(choices, Choice{Question: q, Choices: own, Answer: own[i]})
	}
	choices = append(choices, Choice{Question: questions[0], Choices: []string{"The tempo is about 61 BPM.", own[0], "The tempo is about 200 BPM."}, Answer: own[0]})
	line, err := json.Marshal(Clip{ID: "demo", Audio: song, Labels: Labels{MultipleChoice: choices}})
	require.NoError(t, err)
	rep, err := Run(t.Context(), model, Config{Set: newSet(t, string(line)), Tasks: []string{TaskChoice}, Choices: []string{ChoicesLikelihood}})
	require.NoError(t, err)
	require.Equal(t, len(choices), rep.Summary[choiceLikelihood].N)
	require.InDelta(t, 1, rep.Summary[choiceLikelihood].Value, 1e-9, "%+v", rep.Items)
	require.InDelta(t, 1, rep.Summary[choiceLikelihoodSum].Value, 1e-9)
	for _, i := range rep.Items {
		for _, l := range i.Likelihoods {
			require.Negative(t, l.LogProb)
			require.False(t, math.IsInf(l.LogProb, 0))
			require.Greater(t, l.Tokens, strings.Count(l.Choice, " "), "a token a word at the least, and the end")
		}
	}
}

package handle

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/testdecoder"
	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
)

// tries is an engine that answers each request with the next texts, one for each question, and tells what it was asked.
type tries struct {
	texts [][]string
	seen  []contract.Request
}

func (s *tries) engine() contract.Engine {
	return scripted{testdecoder.New(32, 0), func(_ context.Context, req contract.Request) ([]contract.Result, error) {
		texts := s.texts[len(s.seen)]
		s.seen = append(s.seen, req)
		var results []contract.Result
		for i, q := range req.Questions {
			req.OnToken(q.Index, texts[i][:1])
			req.OnToken(q.Index, texts[i][1:])
			results = append(results, contract.Result{
				Index: q.Index, Text: texts[i], PromptTokens: 22, OutputTokens: 5, Finish: contract.FinishLength, Began: time.Now(), Ended: time.Now(),
			})
		}
		return results, nil
	}}
}

func (f fixture) tagged() *eventpb.PromptReady {
	msg := f.prompt()
	msg.Task.ResponseSchema = event.SchemaTags
	msg.Task.Decode = &eventpb.Decode{MaxTokens: 9}
	return msg
}

func (f fixture) outcomes(t *testing.T, msg *eventpb.PromptReady) []*eventpb.Outcome {
	t.Helper()
	out, err := stagetest.Handle(t.Context(), f.run, record(t, msg))
	require.NoError(t, err)
	var outcomes []*eventpb.Outcome
	for _, rec := range out {
		o, err := event.DecodeAs[*eventpb.Outcome](rec)
		require.NoError(t, err)
		require.Equal(t, event.SchemaTags, o.GetResponseSchema())
		outcomes = append(outcomes, o)
	}
	return outcomes
}

var (
	good  = tags.Tags{TempoBPM: 90, Key: "A", Mode: "minor"}.String()
	loose = strings.ReplaceAll(good, ",", ",\n  ")
)

func TestTagsAreCheckedAndCompact(t *testing.T) {
	t.Parallel()
	s := &tries{texts: [][]string{{good, loose}}}
	f := setup(t, s.engine())
	for _, o := range f.outcomes(t, f.tagged()) {
		require.Equal(t, eventpb.State_STATE_ANSWERED, o.GetState())
		require.Equal(t, good, o.GetAnswer())
		require.EqualValues(t, 5, o.GetTokens().GetOutput())
	}
	require.Len(t, s.seen, 1)
	require.Equal(t, contract.SchemaTags, s.seen[0].Schema)
	require.Equal(t, contract.Decode{MaxTokens: 9}, s.seen[0].Decode)
}

func TestAnAnswerWithoutTheFormIsAskedForOnceMore(t *testing.T) {
	t.Parallel()
	s := &tries{texts: [][]string{{good, `{"tempo_bpm":90,"ke`}, {good}}}
	f := setup(t, s.engine())
	outcomes := f.outcomes(t, f.tagged())
	for _, o := range outcomes {
		require.Equal(t, good, o.GetAnswer())
	}
	require.EqualValues(t, 5, outcomes[0].GetTokens().GetOutput())
	require.EqualValues(t, 10, outcomes[1].GetTokens().GetOutput(), "both tries are paid for")
	require.EqualValues(t, 44, outcomes[1].GetTokens().GetPrompt())

	require.Len(t, s.seen, 2)
	retry := s.seen[1]
	require.Equal(t, []contract.Question{{Index: 3, Text: "How fast?"}}, retry.Questions, "the good answer stands")
	require.Equal(t, contract.SchemaTags, retry.Schema)
	require.Equal(t, s.seen[0].Soft, retry.Soft)
	require.Equal(t, contract.Decode{Temperature: retryTemperature, TopP: retryTopP, Seed: 1}, retry.Decode, "sampled, up to the model's own limit")

	var numbers []uint32
	for _, e := range f.watch.events {
		if d := e.GetToken(); d.GetQuestionIndex() == 3 {
			numbers = append(numbers, d.GetSeq())
		}
	}
	require.Equal(t, []uint32{0, 1, 0, 1}, numbers, "watchers start over")
}

func TestARetryOfASampledAnswerTakesAnotherSeed(t *testing.T) {
	t.Parallel()
	s := &tries{texts: [][]string{{good, "no"}, {good}}}
	f := setup(t, s.engine())
	msg := f.tagged()
	msg.Task.Decode = &eventpb.Decode{Temperature: new(float32(0.25)), TopP: 0.5, Seed: 41, MaxTokens: 9}
	f.outcomes(t, msg)
	require.Equal(t, contract.Decode{Temperature: 0.25, TopP: 0.5, Seed: 42}, s.seen[1].Decode)
}

func TestASecondAnswerWithoutTheFormFails(t *testing.T) {
	t.Parallel()
	s := &tries{texts: [][]string{{"The key is A minor.", good}, {`{"tempo_bpm":9000}`}}}
	f := setup(t, s.engine())
	outcomes := f.outcomes(t, f.tagged())
	require.Equal(t, eventpb.State_STATE_FAILED, outcomes[0].GetState())
	require.Equal(t, event.CodeSchema, outcomes[0].GetError().GetCode())
	require.Contains(t, outcomes[0].GetError().GetMessage(), "does not have the form asked for")
	require.Contains(t, outcomes[0].GetError().GetMessage(), "cut off after 5 tokens")
	require.Empty(t, outcomes[0].GetAnswer())
	require.EqualValues(t, 10, outcomes[0].GetTokens().GetOutput())
	require.Equal(t, good, outcomes[1].GetAnswer())
	require.Len(t, s.seen, 2, "no third try")
}

func TestOtherFaultsAreNotAskedAgain(t *testing.T) {
	t.Parallel()
	calls, broken := 0, errors.New("out of memory")
	f := setup(t, scripted{testdecoder.New(32, 0), func(_ context.Context, req contract.Request) ([]contract.Result, error) {
		if calls++; calls == 2 {
			return nil, broken
		}
		results := []contract.Result{{Index: 0, Err: contract.ErrPromptTooLong}, {Index: 3, Text: "x", Began: time.Now(), Ended: time.Now()}}
		return results[2-len(req.Questions):], nil
	}})
	_, err := stagetest.Handle(t.Context(), f.run, record(t, f.tagged()))
	require.ErrorIs(t, err, broken, "the record is tried again whole")
	outcomes := f.outcomes(t, f.tagged())
	require.Equal(t, event.CodePromptTooLong, outcomes[0].GetError().GetCode())
	require.Equal(t, event.CodeSchema, outcomes[1].GetError().GetCode())
	require.Equal(t, 4, calls)
}

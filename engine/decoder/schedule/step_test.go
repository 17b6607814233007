package schedule_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/contract"
	"github.com/larkstream/larkstream/engine/decoder/decodertest"
	"github.com/larkstream/larkstream/engine/decoder/reference"
	"github.com/larkstream/larkstream/engine/decoder/schedule"
	"github.com/larkstream/larkstream/engine/decoder/tokenizer"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
)

// recorder notes what each step of a backend is asked for. Only the scheduler's goroutine and, when the engine is idle, the
// test use it.
type recorder struct {
	schedule.Backend
	steps [][]schedule.Rows
	open  map[int]bool
	fault error
	takes time.Duration
}

func (r *recorder) Open(seq, prefix, room int) error {
	r.open[seq] = true
	return r.Backend.Open(seq, prefix, room)
}

func (r *recorder) Free(seq int) {
	delete(r.open, seq)
	r.Backend.Free(seq)
}

func (r *recorder) Extend(rows []schedule.Rows) ([][]float32, error) {
	r.steps = append(r.steps, rows)
	if r.fault != nil {
		return nil, r.fault
	}
	<-time.After(r.takes) // by the clock of a bubble
	return r.Backend.Extend(rows)
}

// record runs an engine on a recorded backend of a bundle whose manifest change adapts.
func record(t *testing.T, change func(*model.Manifest)) (*schedule.Engine, *recorder) {
	t.Helper()
	m := modeltest.Manifest()
	if change != nil {
		change(&m)
	}
	b, err := model.Load(modeltest.Write(t, m))
	require.NoError(t, err)
	backend, err := reference.OpenBackend(b, 0)
	require.NoError(t, err)
	tok, err := tokenizer.Open(b.TokenizerPath())
	require.NoError(t, err)
	r := &recorder{Backend: backend, open: map[int]bool{}}
	e, err := schedule.New(schedule.Config{Prompt: b.Prompt}, schedule.Deps{Backend: r, Vocabulary: tok})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e, r
}

// TestPromptsAreReadBesideDecoding: while a long prompt is read, each step is bounded and the answers under way go on.
func TestPromptsAreReadBesideDecoding(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, r := record(t, func(m *model.Manifest) { m.LLM.Context, m.Prompt.MaxTokens = 2000, 30 })
		chunk := r.Shape().Chunk
		longCame := make(chan struct{})
		var group sync.WaitGroup
		group.Go(func() {
			_, err := e.Answer(t.Context(), contract.Request{
				Soft: decodertest.Soft(1, 10, 32), Questions: questions(2), OnToken: func(int, string) { <-longCame },
			})
			require.NoError(t, err)
		})
		synctest.Wait()
		group.Go(func() {
			_, err := e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(2, 10*chunk, 32), Questions: questions(1)})
			require.NoError(t, err)
		})
		synctest.Wait()
		close(longCame)
		group.Wait()
		beside := 0
		for _, rows := range r.steps {
			decoded, read := 0, 0
			for _, row := range rows {
				if len(row.Tokens) == 1 {
					decoded++
				} else {
					read += len(row.Tokens) + len(row.Vectors)/32
				}
			}
			require.Less(t, read, 2*chunk)
			if decoded > 0 && read == chunk {
				beside++
			}
		}
		require.Greater(t, beside, 5, "steps that decoded beside a full piece")
	})
}

// TestCancelFreesWithinOneStep lets the caller go in the middle of a step.
func TestCancelFreesWithinOneStep(t *testing.T) {
	t.Parallel()
	e, r := record(t, nil)
	ctx, cancel := context.WithCancelCause(t.Context())
	at := 0
	_, err := e.Answer(ctx, contract.Request{Soft: decodertest.Soft(1, 20, 32), Questions: questions(8), OnToken: func(int, string) {
		if at == 0 {
			cancel(errGone)
			at = len(r.steps)
		}
	}})
	require.ErrorIs(t, err, errGone)
	require.Positive(t, at)
	require.Len(t, r.steps, at, "no further step is for nobody")
	require.Empty(t, r.open)
	require.Zero(t, r.Used())
}

// TestAFailedStepEndsItsRequests and leaves the engine working.
func TestAFailedStepEndsItsRequests(t *testing.T) {
	t.Parallel()
	e, r := record(t, nil)
	r.fault = errors.New("the device is gone")
	_, err := e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 20, 32), Questions: questions(3)})
	require.ErrorIs(t, err, r.fault)
	require.Empty(t, r.open)
	r.fault = nil
	results, err := e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 20, 32), Questions: questions(3)})
	require.NoError(t, err)
	require.NoError(t, results[2].Err)
	require.Empty(t, r.open)
}

// TestAnAnswerEndsBeforeAStopText takes a piece out of the middle of an answer and makes it a stop text.
func TestAnAnswerEndsBeforeAStopText(t *testing.T) {
	t.Parallel()
	req := contract.Request{Soft: decodertest.Soft(3, 20, 32), Questions: questions(1)}
	e, _ := record(t, nil)
	whole, err := e.Answer(t.Context(), req)
	require.NoError(t, err)
	text := []rune(whole[0].Text)
	require.Greater(t, len(text), 12)
	stop := string(text[len(text)/2 : len(text)/2+4])
	want, _, found := strings.Cut(whole[0].Text, stop)
	require.True(t, found)

	e, _ = record(t, func(m *model.Manifest) { m.Prompt.Stop = append(m.Prompt.Stop, stop) })
	streamed := ""
	req.OnToken = func(_ int, part string) { streamed += part }
	results, err := e.Answer(t.Context(), req)
	require.NoError(t, err)
	require.Equal(t, strings.TrimRightFunc(want, unicode.IsSpace), results[0].Text)
	require.Equal(t, results[0].Text, streamed)
	require.Equal(t, contract.FinishStop, results[0].Finish)
	require.Less(t, results[0].OutputTokens, whole[0].OutputTokens)
}

// A watcher sees every step: the rows of prefix and questions, and a token of every answer in hand, whose first came with the question.
func TestAWatcherSeesEveryStep(t *testing.T) {
	t.Parallel()
	e, r := record(t, nil)
	var seen []schedule.Step
	e.Watch(func(s schedule.Step) { seen = append(seen, s) })
	req := contract.Request{Soft: decodertest.Soft(1, 10, 32), Questions: questions(5)}
	results, err := e.Answer(t.Context(), req)
	require.NoError(t, err)
	require.Len(t, seen, len(r.steps))
	var all, want schedule.Step
	for _, s := range seen {
		all = schedule.Step{Answers: all.Answers + s.Answers, Shared: all.Shared + s.Shared, Own: all.Own + s.Own}
	}
	for _, a := range results {
		grew := a.OutputTokens - 1
		if a.Finish == contract.FinishStop {
			grew++ // the step that chose to stop
		}
		want.Answers += grew
		want.Own += a.PromptTokens - all.Shared
	}
	require.Greater(t, all.Shared, 10, "the frames and what stands before them")
	want.Shared = all.Shared
	require.Equal(t, want, all)
	e.Watch(nil)
	before := len(seen)
	_, err = e.Answer(t.Context(), req)
	require.NoError(t, err)
	require.Len(t, seen, before)
	require.Greater(t, len(r.steps), before)
}

// Whoever asks while an answer ends finds the last step in both times.
func TestTheTimeOfTheLastStepIsCountedBeforeItsAnswersEnd(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		e, r := record(t, nil)
		r.takes = time.Second
		var found []schedule.Stats
		_, err := e.Answer(t.Context(), contract.Request{Soft: decodertest.Soft(1, 10, 32), Questions: questions(1), OnToken: func(int, string) {
			found = append(found, e.Stats())
		}})
		require.NoError(t, err)
		require.NotEmpty(t, found)
		for _, s := range append(found, e.Stats()) {
			require.Equal(t, time.Duration(s.Steps)*time.Second, s.Computing)
			require.Equal(t, s.Computing, s.Busy)
		}
	})
}

package store_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// whole is a job that combines the answers to these questions.
func whole(t *testing.T, s *store.SQL, questions ...string) {
	t.Helper()
	job := newJob("j1", questions...)
	job.Options = event.Options{Combine: true}
	create(t, s, job)
}

// said is an answer about a window.
func said(question, win int, text, answer string) store.Entry {
	o := outcome("j1", question, win, eventpb.State_STATE_ANSWERED)
	o.Question.Text, o.Answer = text, answer
	return store.Entry{Outcome: o}
}

// ofTrack are the outcomes of the whole track, by question.
func ofTrack(t *testing.T, s *store.SQL, window int) map[uint32]*eventpb.Outcome {
	t.Helper()
	all, _, err := s.Outcomes(t.Context(), "j1", 0, 100)
	require.NoError(t, err)
	found := map[uint32]*eventpb.Outcome{}
	for _, o := range all {
		if int(o.GetWindow().GetIndex()) == window {
			require.NotContains(t, found, o.GetQuestion().GetIndex())
			require.Equal(t, event.OutcomeID("j1", o.GetQuestion().GetIndex(), uint32(window)), o.GetOutcomeId())
			found[o.GetQuestion().GetIndex()] = o
		}
	}
	return found
}

func balanced(t *testing.T, s *store.SQL, outcomes int) {
	t.Helper()
	l, err := s.Ledger(t.Context())
	require.NoError(t, err)
	require.Equal(t, store.Ledger{EndedJobs: 1, Expected: outcomes, Recorded: outcomes}, l)
}

// Facts are combined with the last window's outcome, in its transaction, and the job ends.
func TestFactsOfTheTrackComeWithTheLastWindow(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		whole(t, s, "Which key?", "Which tempo?")
		record(t, s, store.Entry{Plan: plan("j1", 3, 2)}, said(0, 0, "Which key?", "A minor"), said(0, 1, "Which key?", "A minor"), said(0, 2, "Which key?", "C major"),
			said(1, 0, "Which tempo?", "120 BPM"), said(1, 1, "Which tempo?", "60 BPM"))
		last := said(1, 2, "Which tempo?", "121 BPM")
		for again := range 2 {
			res := record(t, s, last)[0]
			require.Equal(t, again == 0, res.JustEnded)
			require.Nil(t, res.Ask)
			require.Len(t, res.Outcomes, 3, "the last window's and two of the track, also when it comes again")
			require.Equal(t, 3*(1-again), res.New)
			require.Equal(t, store.Succeeded, res.Job.State)
		}
		track := ofTrack(t, s, 3)
		require.Len(t, track, 2)
		require.Equal(t, "The key is A minor.", track[0].GetAnswer())
		require.Equal(t, []uint32{0, 1}, track[0].GetCombined().GetWindows())
		require.Equal(t, "Which key?", track[0].GetQuestion().GetText())
		require.InDelta(t, 75, track[0].GetWindow().GetSpan().GetEndS(), 0)
		require.Equal(t, "The tempo is 120 BPM.", track[1].GetAnswer())
		require.InDelta(t, 1, track[1].GetCombined().GetShare(), 1e-9)
		balanced(t, s, 8)
		j, err := s.Get(t.Context(), "j1")
		require.NoError(t, err)
		require.Len(t, j.Windows, 3)
		require.Equal(t, 3, j.WindowsDone)
	})
}

// A description is asked of the model, once all windows have ended, and again until the answer is there.
func TestTheModelIsAskedForDescriptions(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		whole(t, s, "Describe it.", "Which key?", "And the form?")
		record(t, s, store.Entry{Plan: plan("j1", 2, 3)})
		var last store.Recorded
		for w, answer := range []string{"Quiet.", "Loud."} {
			last = record(t, s, said(0, w, "Describe it.", answer), said(1, w, "Which key?", "E major"), said(2, w, "And the form?", "Verse."))[2]
		}
		require.False(t, last.Job.State.Terminal())
		require.Len(t, last.Outcomes, 2, "the key of the track too")
		task := last.Ask
		require.NotNil(t, task)
		require.Equal(t, "j1", task.GetJobId())
		require.EqualValues(t, 2, task.GetWindow().GetIndex())
		require.Equal(t, window(1).GetHash(), task.GetWindow().GetHash(), "the question goes to a window whose soft prompt is there")
		require.Len(t, task.GetQuestions(), 2)
		require.Contains(t, task.GetQuestions()[0].GetText(), "0:00 to 0:25: Quiet.\n0:25 to 0:50: Loud.\n")
		require.True(t, strings.HasSuffix(task.GetQuestions()[0].GetText(), " Describe it."))
		require.EqualValues(t, 2, task.GetQuestions()[1].GetIndex())

		again := record(t, s, store.Entry{Plan: plan("j1", 2, 3)})[0]
		require.NotNil(t, again.Ask, "a job that is published again asks again")
		require.Zero(t, again.New)

		made := event.NewOutcome(task, task.GetQuestions()[0])
		made.State, made.Answer = eventpb.State_STATE_ANSWERED, "From quiet to loud."
		res := record(t, s, store.Entry{Outcome: made})[0]
		require.Nil(t, res.Ask)
		require.False(t, res.JustEnded)
		failed := event.FailedOutcome(task, task.GetQuestions()[1], event.Failure{Code: event.CodePromptTooLong, Message: "too long"})
		res = record(t, s, store.Entry{Outcome: failed})[0]
		require.True(t, res.JustEnded)
		track := ofTrack(t, s, 2)
		require.Equal(t, "From quiet to loud.", track[0].GetAnswer())
		require.Equal(t, "Describe it.", track[0].GetQuestion().GetText())
		require.Equal(t, &eventpb.Span{EndS: 50}, track[0].GetWindow().GetSpan())
		require.Equal(t, "model", track[0].GetCombined().GetRule())
		require.Equal(t, []uint32{0, 1}, track[0].GetCombined().GetWindows())
		require.Equal(t, "0:00 to 0:25: Verse.\n0:25 to 0:50: Verse.", track[2].GetAnswer(), "what the model cannot combine is joined")
		require.Equal(t, "joined", track[2].GetCombined().GetRule())
		require.Equal(t, store.Succeeded, res.Job.State)
		balanced(t, s, 9)
	})
}

// Whatever becomes of the windows, every question has one outcome of the track.
func TestEveryQuestionHasAnOutcomeOfTheTrack(t *testing.T) {
	t.Parallel()
	const question = "Describe it."
	failed := func(w int) store.Entry {
		return store.Entry{Outcome: outcome("j1", 0, w, eventpb.State_STATE_FAILED)}
	}
	for name, c := range map[string]struct {
		entries []store.Entry
		cancel  bool
		state   eventpb.State
		ends    store.State
	}{
		"nothing answered": {[]store.Entry{failed(0), failed(1)}, false, eventpb.State_STATE_FAILED, store.Failed},
		"given up as a whole": {
			[]store.Entry{said(0, 0, question, "Loud."), {Outcome: givenUp("j1", 0)}}, false, eventpb.State_STATE_FAILED, store.Partial,
		},
		"cancelled": {[]store.Entry{said(0, 0, question, "Loud."), {Outcome: outcome("j1", 0, 1, eventpb.State_STATE_CANCELLED)}}, true, eventpb.State_STATE_CANCELLED, store.Cancelled},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, s *store.SQL) {
				whole(t, s, question)
				record(t, s, store.Entry{Plan: plan("j1", 2, 1)})
				if c.cancel {
					_, err := s.Cancel(t.Context(), "j1", nil, nil)
					require.NoError(t, err)
				}
				res := record(t, s, c.entries...)
				last := res[len(res)-1]
				require.Nil(t, last.Ask)
				require.True(t, last.JustEnded)
				require.Equal(t, c.ends, last.Job.State)
				require.Equal(t, c.state, ofTrack(t, s, 2)[0].GetState())
				balanced(t, s, 3)
			})
		})
	}
}

// A track of one window has no answer beside the window's, nor has a job that could not be cut.
func TestOneWindowIsTheTrack(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		whole(t, s, "Which key?")
		res := record(t, s, store.Entry{Plan: plan("j1", 1, 1)}, said(0, 0, "Which key?", "A minor"))
		require.True(t, res[1].JustEnded)
		balanced(t, s, 1)
	})
}

// What comes for the track before the windows have ended was asked by nobody.
func TestAnAnswerOfTheTrackThatNobodyAskedForIsLeftOut(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		whole(t, s, "Describe it.")
		record(t, s, store.Entry{Plan: plan("j1", 2, 1)})
		res := record(t, s, said(0, 2, "Describe it.", "early"))[0]
		require.Empty(t, res.Outcomes)
		require.Zero(t, res.Job.Recorded())
	})
}

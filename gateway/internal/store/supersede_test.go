package store_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// An outcome that was given up is replaced by an answer if the job's owner allows it, and by nothing else; the old one is kept.
func TestAnswersReplaceWhatWasGivenUp(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		create(t, s, newJob("j1", "a", "b"))
		record(t, s, all("j1", 1, 2, eventpb.State_STATE_FAILED)...)
		answer := store.Entry{Outcome: outcome("j1", 1, 0, eventpb.State_STATE_ANSWERED)}
		require.Zero(t, record(t, s, answer)[0].New, "the owner has not allowed it")
		require.ErrorIs(t, s.AllowSupersede(t.Context(), "nobody", "me"), store.ErrNotFound)
		for range 2 {
			require.NoError(t, s.AllowSupersede(t.Context(), "j1", "me"))
		}
		known, allowed, err := s.MaySupersede(t.Context(), "j1")
		require.NoError(t, err)
		require.True(t, known && allowed)

		require.Zero(t, record(t, s, store.Entry{Outcome: outcome("j1", 0, 0, eventpb.State_STATE_CANCELLED)})[0].New, "only an answer replaces")
		got := record(t, s, answer)[0]
		require.Equal(t, 1, got.New)
		require.False(t, got.JustEnded, "it had ended before")
		require.Zero(t, record(t, s, answer)[0].New, "an answer is not replaced")

		j, err := s.Get(t.Context(), "j1")
		require.NoError(t, err)
		require.Equal(t, []any{store.Partial, 1, 1}, []any{j.State, j.Answered, j.Failed})
		outcomes, _, err := s.Outcomes(t.Context(), "j1", 2, 10)
		require.NoError(t, err)
		require.Len(t, outcomes, 1, "a reader who has seen both sees the new one")
		require.Equal(t, "yes", outcomes[0].GetAnswer())
		old, err := s.Superseded(t.Context(), "j1", 10)
		require.NoError(t, err)
		require.Len(t, old, 1)
		require.Equal(t, []int{2, 3}, []int{old[0].Seq, old[0].By})
		require.Equal(t, "engine_error", old[0].Outcome.GetError().GetCode())
		l, err := s.Ledger(t.Context())
		require.NoError(t, err)
		require.Zero(t, l.Unbalanced)
	})
}

// A job that was given up before its windows were known is opened again by its plan, and ends once more.
func TestAPlanOpensAJobAgain(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		create(t, s, newJob("j1", "a"))
		record(t, s, store.Entry{Plan: &eventpb.JobPlan{JobId: "j1", Questions: 1, Windows: []*eventpb.Window{{}}}}, store.Entry{Outcome: givenUp("j1", 0)})
		record(t, s, store.Entry{Plan: plan("j1", 2, 1)})
		j, err := s.Get(t.Context(), "j1")
		require.NoError(t, err)
		require.Equal(t, []any{store.Failed, 1}, []any{j.State, j.WindowCount}, "the owner has not allowed it")

		require.NoError(t, s.AllowSupersede(t.Context(), "j1", "me"))
		got := record(t, s, all("j1", 2, 1, eventpb.State_STATE_ANSWERED)...)
		require.True(t, got[2].JustEnded)
		require.Zero(t, got[2].Missing)
		j, err = s.Get(t.Context(), "j1")
		require.NoError(t, err)
		require.Equal(t, []any{store.Succeeded, 2, 2, 0}, []any{j.State, j.WindowCount, j.Answered, j.Failed})
		old, err := s.Superseded(t.Context(), "j1", 10)
		require.NoError(t, err)
		require.Len(t, old, 1)
		require.Zero(t, old[0].By)
		l, err := s.Ledger(t.Context())
		require.NoError(t, err)
		require.Zero(t, l.Unbalanced)
	})
}

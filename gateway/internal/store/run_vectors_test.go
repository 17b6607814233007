package store_test

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

func vector(values ...float32) *store.Vector { return &store.Vector{Space: "e@1/f32", Values: values} }

// TestVectorsAreKeptWithTheEndsOfItems: they are there for what was settled, as they were given, and go when an item is taken up again.
func TestVectorsAreKeptWithTheEndsOfItems(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx := t.Context()
		newRun(t, s, "r1")
		var starts []store.ItemStart
		for n := 1; n <= 3; n++ {
			starts = append(starts, store.ItemStart{N: n, SHA256: "00ff", Bytes: 7, Job: itemJob(fmt.Sprint("j", n))})
		}
		starts[0].Job.Isolated = true
		_, err := s.StartItems(ctx, "r1", starts, nil, client.TenantLimits{})
		require.NoError(t, err)
		answer(t, s, "j1", eventpb.State_STATE_ANSWERED, "")
		answer(t, s, "j2", eventpb.State_STATE_FAILED, event.CodeEngineError)
		answer(t, s, "j3", eventpb.State_STATE_ANSWERED, "")

		items, err := s.EndedItems(ctx, "r1", 2)
		require.NoError(t, err)
		require.Equal(t, []store.EndedItem{{N: 1, JobID: "j1", Windows: []string{"h"}, Isolated: true}, {N: 2, JobID: "j2"}}, items, "nothing was answered about the second")
		items[0].Vector = vector(0.6, -0.8)
		items[1].JobID, items[1].Vector = "another", vector(1)
		n, err := s.SettleItems(ctx, "r1", items)
		require.NoError(t, err)
		require.Equal(t, 1, n, "what has another job by now is not settled")
		items, err = s.EndedItems(ctx, "r1", 10)
		require.NoError(t, err)
		require.Equal(t, []store.EndedItem{{N: 2, JobID: "j2"}, {N: 3, JobID: "j3", Windows: []string{"h"}}}, items)
		items[1].Vector = vector(1, 0)
		for want := 2; want >= 0; want -= 2 { // the second time changes nothing
			n, err = s.SettleItems(ctx, "r1", items)
			require.NoError(t, err)
			require.Equal(t, want, n)
		}

		all, err := s.Vectors(ctx, "r1", 0, 10)
		require.NoError(t, err)
		require.Equal(t, []store.ItemVector{{N: 1, ItemID: "a", Vector: *vector(0.6, -0.8)}, {N: 3, ItemID: "c", Vector: *vector(1, 0)}}, all)
		page, err := s.Vectors(ctx, "r1", 1, 1)
		require.NoError(t, err)
		require.Equal(t, all[1:], page)
		none, err := s.Vectors(ctx, "r2", 0, 10)
		require.NoError(t, err)
		require.Empty(t, none)

		it, found, err := s.ItemAt(ctx, "r1", "file:///c")
		require.NoError(t, err)
		require.Equal(t, []any{true, "c"}, []any{found, it.ID})
		_, found, err = s.ItemAt(ctx, "r1", "file:///none")
		require.NoError(t, err)
		require.False(t, found)
	})
}

// TestAnItemThatIsTakenUpAgainLosesItsVector, and the next end brings the new one.
func TestAnItemThatIsTakenUpAgainLosesItsVector(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx := t.Context()
		newRun(t, s, "r1")
		round := func(job string, v *store.Vector) {
			j := itemJob(job)
			j.Questions, j.QuestionCount = []string{"q", "r"}, 2
			_, err := s.StartItems(ctx, "r1", []store.ItemStart{{N: 1, SHA256: "00ff", Bytes: 7, Job: j}}, nil, client.TenantLimits{})
			require.NoError(t, err)
			w := &eventpb.Window{Hash: "h", Span: &eventpb.Span{EndS: 10}}
			entries := []store.Entry{{Plan: &eventpb.JobPlan{JobId: job, Questions: 2, Track: &eventpb.Track{DurationS: 10}, Windows: []*eventpb.Window{w}}}}
			for i, state := range []eventpb.State{eventpb.State_STATE_ANSWERED, eventpb.State_STATE_FAILED} {
				o := &eventpb.Outcome{OutcomeId: fmt.Sprint(job, i), JobId: job, Question: &eventpb.Question{Index: uint32(i), Text: "q"}, State: state, Window: w}
				if state == eventpb.State_STATE_FAILED {
					o.Error = &eventpb.Error{Code: event.CodeEngineError}
				}
				entries = append(entries, store.Entry{Outcome: o})
			}
			_, err = s.Record(ctx, entries)
			require.NoError(t, err)
			items, err := s.EndedItems(ctx, "r1", 10)
			require.NoError(t, err)
			require.Equal(t, []string{"h"}, items[0].Windows, "a partial item was answered about")
			items[0].Vector = v
			_, err = s.SettleItems(ctx, "r1", items)
			require.NoError(t, err)
		}
		round("j1", vector(1, 0))
		_, n, err := s.RetryRun(ctx, "r1", "")
		require.NoError(t, err)
		require.Equal(t, 1, n)
		all, err := s.Vectors(ctx, "r1", 0, 10)
		require.NoError(t, err)
		require.Empty(t, all)
		round("j2", vector(0, 1))
		all, err = s.Vectors(ctx, "r1", 0, 10)
		require.NoError(t, err)
		require.Equal(t, []store.ItemVector{{N: 1, ItemID: "a", Vector: *vector(0, 1)}}, all)
	})
}

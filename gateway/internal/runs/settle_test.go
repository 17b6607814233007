package runs_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/runs"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
)

// TestItemsEndWithTheirVectors, not before the object store tells whether there is one: while it is away they wait, and the run says so.
func TestItemsEndWithTheirVectors(t *testing.T) {
	t.Parallel()
	jobs, p, _ := setup(t, store.RunSpec{}, "a", "b", "c")
	var mu sync.Mutex
	away := errors.New("connection refused")
	var pooled []string
	c, err := runs.New(runs.Config{InFlight: 3, MaxBytes: 100}, runs.Deps{
		Store: jobs, Sources: p, Cancel: func(context.Context, store.Job) error { return nil }, Wake: func() {}, Log: slog.New(slog.DiscardHandler),
		Pool: func(_ context.Context, tenant string, it store.EndedItem) (*store.Vector, error) {
			mu.Lock()
			defer mu.Unlock()
			pooled = append(pooled, tenant)
			switch {
			case away != nil:
				return nil, away
			case it.N == 2:
				return nil, nil
			}
			return &store.Vector{Space: "e", Values: []float32{float32(it.N)}}, nil
		},
	})
	require.NoError(t, err)
	run := once(t, jobs, c)
	require.Equal(t, 3, run.Counts[store.ItemRunning])
	answerAll(t, jobs)
	for range 2 {
		_, err = c.Once(t.Context())
		require.ErrorContains(t, err, "connection refused")
		run, err = jobs.GetRun(t.Context(), "r")
		require.NoError(t, err)
		require.Equal(t, []any{store.RunRunning, 3}, []any{run.State, run.Counts[store.ItemRunning]})
		require.Equal(t, "waiting for the embeddings of items that have ended: connection refused", run.Reason)
	}
	away = nil
	run = once(t, jobs, c)
	require.Equal(t, []any{"", 3}, []any{run.Reason, run.Counts[store.ItemSucceeded]})
	require.Empty(t, slices.DeleteFunc(pooled, func(tenant string) bool { return tenant == event.TenantDefault }))
	all, err := jobs.Vectors(t.Context(), "r", 0, 10)
	require.NoError(t, err)
	require.Equal(t, []store.ItemVector{{N: 1, ItemID: "a", Vector: store.Vector{Space: "e", Values: []float32{1}}}, {N: 3, ItemID: "c", Vector: store.Vector{Space: "e", Values: []float32{3}}}}, all)
	run = once(t, jobs, c)
	require.Equal(t, store.RunSucceeded, run.State)
}

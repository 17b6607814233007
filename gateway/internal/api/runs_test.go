package api_test

import (
	"errors"
	"net/http"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
)

func TestARunIsMadeFilledAndMoved(t *testing.T) {
	t.Parallel()
	r, ctx := setup(t), t.Context()
	run, err := r.client.CreateRun(ctx, client.RunSubmission{Name: "albums", Questions: []string{" What key? "}, MaxFailures: 0.05})
	require.NoError(t, err)
	require.Equal(t, []any{client.RunLoading, "albums", []string{"What key?"}, client.PlanAuto, 0.05}, []any{run.State, run.Asked.Name, run.Asked.Questions, run.Asked.Plan, run.Asked.MaxFailures})

	items := []client.NewItem{{ID: "a", URI: "file:///music/a.mp3", Fields: map[string]string{"title": "A"}}, {ID: "b", URI: "s3://lib/b.mp3"}, {ID: "a", URI: "file:///music/a.mp3"}}
	added, err := r.client.AddItems(ctx, run.ID, items)
	require.NoError(t, err)
	require.Equal(t, client.AddedItems{Added: 2, Known: 1}, added)
	for name, bad := range map[string]client.NewItem{
		"uri": {ID: "x", URI: "ftp://example.org/a.mp3"}, "digest": {ID: "x", URI: "file:///a", SHA256: "zz"}, "no id": {URI: "file:///a"},
	} {
		_, err = r.client.AddItems(ctx, run.ID, []client.NewItem{bad})
		var p *client.Problem
		require.ErrorAs(t, err, &p, name)
		require.Equal(t, http.StatusUnprocessableEntity, p.Status, name)
	}

	for _, step := range []struct{ verb, state string }{
		{"start", client.RunRunning}, {"start", client.RunRunning}, {"pause", client.RunPaused}, {"resume", client.RunRunning}, {"cancel", client.RunCancelling}, {"cancel", client.RunCancelling},
	} {
		run, err = r.client.MoveRun(ctx, "albums", step.verb)
		require.NoError(t, err)
		require.Equal(t, step.state, run.State, step.verb)
	}
	_, err = r.client.AddItems(ctx, run.ID, items)
	var p *client.Problem
	require.ErrorAs(t, err, &p)
	require.Equal(t, []any{http.StatusConflict, "run_state"}, []any{p.Status, p.Code})

	page, err := r.client.RunItems(ctx, run.ID, client.ItemOptions{Limit: 1, Outcomes: true})
	require.NoError(t, err)
	require.Equal(t, []string{"a", client.StateCancelled}, []string{page.Items[0].ID, page.Items[0].State})
	page, err = r.client.RunItems(ctx, run.ID, client.ItemOptions{Cursor: *page.Next, Limit: 1})
	require.NoError(t, err)
	require.Equal(t, "b", page.Items[0].ID)
	require.Nil(t, page.Next)

	_, err = r.client.CreateRun(ctx, client.RunSubmission{Questions: []string{"q"}, ChangedSince: "albums"})
	require.NoError(t, err)
	list, err := r.client.Runs(ctx, "", 1)
	require.NoError(t, err)
	require.NotNil(t, list.Next)
	require.Equal(t, run.ID, list.Runs[0].Asked.ChangedSince)
	_, err = r.client.Run(ctx, "none")
	require.ErrorAs(t, err, &p)
	require.Equal(t, "run_not_found", p.Code)

	_, err = r.client.CreateRun(ctx, client.RunSubmission{Questions: []string{"q"}, MaxCost: 1})
	require.ErrorAs(t, err, &p)
	require.Equal(t, "prices_missing", p.Code)
	reply, err := r.client.PlanRun(ctx, client.PlanRequest{Asked: client.RunSubmission{Questions: []string{"q"}}, Items: items[:1]})
	require.NoError(t, err)
	require.Equal(t, []string{"a", "source_not_allowed"}, []string{reply.Items[0].ID, reply.Items[0].Code})
	rates, err := r.client.Rates(ctx, client.SchemaTags)
	require.NoError(t, err)
	require.Equal(t, client.Rates{Model: "nano"}, rates)
}

// TestARunIsWatched: a watcher is told of the state, of each failure once, also over a reconnection, and of the end.
func TestARunIsWatched(t *testing.T) {
	t.Parallel()
	r, ctx := setup(t), t.Context()
	run, err := r.client.CreateRun(ctx, client.RunSubmission{Questions: []string{"q"}})
	require.NoError(t, err)
	_, err = r.client.AddItems(ctx, run.ID, []client.NewItem{{ID: "a", URI: "file:///a"}, {ID: "b", URI: "file:///b"}})
	require.NoError(t, err)
	_, err = r.client.MoveRun(ctx, run.ID, "start")
	require.NoError(t, err)
	fail := func(n int) {
		_, err := r.jobs.StartItems(ctx, run.ID, nil, []store.ItemEnd{{N: n, State: store.ItemFailed, Code: "source_missing"}}, client.TenantLimits{})
		require.NoError(t, err)
	}
	fail(1)
	var kinds []string
	stop := errors.New("stop")
	last := ""
	note := func(ev client.RunEvent) error {
		kinds = append(kinds, ev.Kind)
		if ev.Item != nil {
			last = ev.ID
			kinds[len(kinds)-1] += " " + ev.Item.ID
			return stop
		}
		return nil
	}
	require.ErrorIs(t, r.client.WatchRun(ctx, run.ID, client.WatchOptions{After: "0"}, note), stop)
	err = r.client.WatchRun(ctx, run.ID, client.WatchOptions{After: last}, func(ev client.RunEvent) error {
		if ev.Kind == client.EventState && ev.Run.State == client.RunRunning {
			fail(2)
		}
		if ev.Item != nil && ev.Item.ID == "b" {
			_, err := r.jobs.FinishRun(ctx, run.ID)
			require.NoError(t, err)
		}
		_ = note(ev)
		return nil
	})
	require.NoError(t, err)
	kinds = slices.DeleteFunc(kinds, func(k string) bool { return k == client.EventProgress })
	require.Equal(t, []string{"item a", "state", "item b", "end"}, kinds)
	require.ErrorContains(t, r.client.WatchRun(ctx, run.ID, client.WatchOptions{After: "x"}, note), "Last-Event-ID")
}

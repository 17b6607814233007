package api_test

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/tags"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// settledRun makes a run of a tenant whose items of these ids have ended with tags of these tempi, or failed where the tempo is 0. The vector of an item has two
// numbers, and its angle is as many degrees as the tempo; an item of tempo 1 has none.
func (r *rig) settledRun(tenant, id string, names []string, tempi map[string]int) {
	r.t.Helper()
	r.settledRunWith(tenant, id, names, tempi, func(tempo int) []float32 {
		sin, cos := math.Sincos(float64(tempo) * math.Pi / 180)
		return []float32{float32(cos), float32(sin)}
	})
}

func (r *rig) settledRunWith(tenant, id string, names []string, tempi map[string]int, vector func(tempo int) []float32) {
	r.t.Helper()
	ctx := r.t.Context()
	require.NoError(r.t, r.jobs.CreateRun(ctx, store.Run{ID: id, Tenant: tenant, Name: id + "-name", Spec: store.RunSpec{Questions: []string{"q"}, Plan: event.PlanAuto}}))
	var items []store.Item
	var starts []store.ItemStart
	for i, name := range names {
		items = append(items, store.Item{ID: name, URI: "file:///" + name})
		starts = append(starts, store.ItemStart{N: i + 1, SHA256: "00ff", Bytes: 7, Job: store.NewJob(tenant, event.JobSpec{
			ID: id + "-" + name, Plan: event.PlanAuto, Questions: []string{"q"}, Options: event.Options{Lane: event.LaneBulk, ResponseSchema: event.SchemaTags},
			Audio: event.AudioFile{SHA256: "00ff", Bytes: 7, URI: "file:///" + name},
		}, "abc")})
	}
	_, err := r.jobs.AddItems(ctx, id, items)
	require.NoError(r.t, err)
	_, err = r.jobs.SealRun(ctx, id)
	require.NoError(r.t, err)
	_, err = r.jobs.StartItems(ctx, id, starts, nil, client.TenantLimits{})
	require.NoError(r.t, err)
	for _, st := range starts {
		w := &eventpb.Window{Hash: "h", Span: &eventpb.Span{EndS: 10}, HeardS: 10}
		o := &eventpb.Outcome{
			OutcomeId: event.OutcomeID(st.Job.ID, 0, 0), JobId: st.Job.ID, Question: &eventpb.Question{Text: "q"}, Window: w, ResponseSchema: event.SchemaTags,
			State: eventpb.State_STATE_FAILED, Error: &eventpb.Error{Code: event.CodeEngineError},
		}
		if tempo := tempi[items[st.N-1].ID]; tempo > 0 {
			o.State, o.Error, o.Answer = eventpb.State_STATE_ANSWERED, nil, tags.Tags{TempoBPM: tempo, Key: "A"}.String()
		}
		_, err := r.jobs.Record(ctx, []store.Entry{
			{Plan: &eventpb.JobPlan{JobId: st.Job.ID, Questions: 1, Track: &eventpb.Track{DurationS: 10}, Windows: []*eventpb.Window{w}}}, {Outcome: o},
		})
		require.NoError(r.t, err)
	}
	ended, err := r.jobs.EndedItems(ctx, id, 100)
	require.NoError(r.t, err)
	for i := range ended {
		if tempo := tempi[strings.TrimPrefix(ended[i].JobID, id+"-")]; tempo > 1 {
			ended[i].Vector = &store.Vector{Space: "test", Values: vector(tempo)}
		}
	}
	_, err = r.jobs.SettleItems(ctx, id, ended)
	require.NoError(r.t, err)
	_, err = r.jobs.FinishRun(ctx, id)
	require.NoError(r.t, err)
}

// TestTwoRunsAreCompared in pages of any size with the same result: every item of both is counted once, and what differs is told once.
func TestTwoRunsAreCompared(t *testing.T) {
	t.Parallel()
	r, ctx := setup(t), t.Context()
	r.settledRun(event.TenantDefault, "one", []string{"Zoë", "b", "a", "lost", "gone"}, map[string]int{"Zoë": 100, "b": 120, "a": 90, "lost": 80, "gone": 70})
	r.settledRun(event.TenantDefault, "two", []string{"new", "lost", "a", "b", "Zoë", "new2"}, map[string]int{"Zoë": 100, "b": 121, "a": 90, "new": 60, "new2": 61})
	for limit := 1; limit <= 7; limit++ {
		var counts client.DiffCounts
		var told []string
		compared, changed, cursor := 0, 0, ""
		for pages := 0; ; pages++ {
			require.Less(t, pages, 20)
			page, err := r.client.DiffRuns(ctx, "one-name", "two", cursor, limit)
			require.NoError(t, err)
			require.Equal(t, []string{"one", "two"}, []string{page.Before, page.After})
			counts = counts.Plus(page.Counts)
			for _, f := range page.Fields {
				if f.Field == "tempo_bpm" {
					compared, changed = compared+f.Compared, changed+f.Changed
				}
			}
			for _, it := range page.Items {
				told = append(told, it.Kind+" "+it.ID+it.Code)
				for _, c := range it.Changes {
					told = append(told, fmt.Sprint(c.Field, " ", c.Before, " ", c.After))
				}
			}
			if page.Next == nil {
				break
			}
			cursor = *page.Next
		}
		require.Equal(t, client.DiffCounts{Same: 2, Changed: 1, Lost: 1, OnlyBefore: 1, OnlyAfter: 2}, counts, "pages of %d", limit)
		require.Equal(t, []string{"changed b", "tempo_bpm 120 121", "lost lost" + event.CodeEngineError, "only_before gone", "only_after new", "only_after new2"}, told)
		require.Equal(t, []int{3, 1}, []int{compared, changed})
	}
	same, err := r.client.DiffRuns(ctx, "one", "one", "", 0)
	require.NoError(t, err)
	require.Equal(t, client.DiffCounts{Same: 5}, same.Counts)

	var p *client.Problem
	_, err = r.client.DiffRuns(ctx, "one", "none", "", 0)
	require.ErrorAs(t, err, &p)
	require.Equal(t, []any{http.StatusNotFound, "run_not_found"}, []any{p.Status, p.Code})
	_, err = r.client.DiffRuns(ctx, "one", "two", "nonsense", 0)
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusBadRequest, p.Status)
	_, err = r.client.DiffRuns(ctx, "one", "", "", 0)
	require.ErrorAs(t, err, &p)
	require.Equal(t, http.StatusUnprocessableEntity, p.Status)
}

// TestARunIsNotComparedWithThatOfAnotherTenant, on whichever side it stands.
func TestARunIsNotComparedWithThatOfAnotherTenant(t *testing.T) {
	t.Parallel()
	r := setupKeys(t)
	r.settledRun("acme", "one", []string{"a"}, map[string]int{"a": 100})
	r.settledRun("other", "two", []string{"a"}, map[string]int{"a": 101})
	for _, runs := range [][2]string{{"one", "two"}, {"two", "one"}, {"two-name", "one-name"}} {
		_, err := r.as("other", auth.ScopeRuns).DiffRuns(t.Context(), runs[0], runs[1], "", 0)
		var p *client.Problem
		require.ErrorAs(t, err, &p)
		require.Equal(t, http.StatusNotFound, p.Status)
	}
}

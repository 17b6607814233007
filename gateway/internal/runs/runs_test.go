package runs_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/runs"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/storetest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/source"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// place is a source whose file of a name has the name's text, unless the place is away or the file is missing.
type place struct{ away atomic.Bool }

func (p *place) Open(_ context.Context, uri string) (*source.Object, error) {
	switch {
	case p.away.Load():
		return nil, fmt.Errorf("%w: connection refused", source.ErrUnavailable)
	case strings.HasSuffix(uri, "missing"):
		return nil, source.ErrMissing
	case strings.HasSuffix(uri, "broken"):
		return &source.Object{ReadCloser: io.NopCloser(io.MultiReader(strings.NewReader("half"), failing{})), Bytes: 8}, nil
	case strings.HasSuffix(uri, "empty"):
		return &source.Object{ReadCloser: io.NopCloser(strings.NewReader(""))}, nil
	case strings.HasSuffix(uri, "huge"): // larger than it says
		return &source.Object{ReadCloser: io.NopCloser(strings.NewReader(strings.Repeat("x", 101))), Bytes: 1}, nil
	}
	return &source.Object{ReadCloser: io.NopCloser(strings.NewReader(uri)), Bytes: int64(len(uri))}, nil
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func setup(t *testing.T, spec store.RunSpec, names ...string) (*store.SQL, *place, *runs.Controller) {
	t.Helper()
	jobs, err := store.Open(t.Context(), storetest.URL(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, jobs.Close()) })
	spec.Questions, spec.Plan = []string{"q"}, event.PlanAuto
	require.NoError(t, jobs.CreateRun(t.Context(), store.Run{ID: "r", Tenant: event.TenantDefault, Created: time.Now(), Spec: spec}))
	var items []store.Item
	for _, name := range names {
		items = append(items, store.Item{ID: name, URI: "file:///" + name})
	}
	_, err = jobs.AddItems(t.Context(), "r", items)
	require.NoError(t, err)
	_, err = jobs.SealRun(t.Context(), "r")
	require.NoError(t, err)
	p := &place{}
	c, err := runs.New(runs.Config{InFlight: 3, MaxBytes: 100}, runs.Deps{
		Store: jobs, Sources: p, Cancel: func(context.Context, store.Job) error { return nil }, Wake: func() {}, Amount: func(c store.Cost) float64 { return c.EncoderS }, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(t, err)
	return jobs, p, c
}

func once(t *testing.T, jobs *store.SQL, c *runs.Controller) store.Run {
	t.Helper()
	_, err := c.Once(t.Context())
	require.NoError(t, err)
	run, err := jobs.GetRun(t.Context(), "r")
	require.NoError(t, err)
	return run
}

// TestAPlaceThatIsAwayFailsNothing: the run says that it waits, and goes on when the place is back; a file that breaks off is tried again as well.
func TestAPlaceThatIsAwayFailsNothing(t *testing.T) {
	t.Parallel()
	jobs, p, c := setup(t, store.RunSpec{}, "a", "broken", "missing")
	p.away.Store(true)
	run := once(t, jobs, c)
	require.Equal(t, []any{store.RunRunning, 3}, []any{run.State, run.Counts[store.ItemPending]})
	require.Contains(t, run.Reason, "connection refused")
	p.away.Store(false)
	run = once(t, jobs, c)
	require.Equal(t, []int{1, 1, 1}, []int{run.Counts[store.ItemPending], run.Counts[store.ItemRunning], run.Counts[store.ItemFailed]})
	failures, err := jobs.RunFailures(t.Context(), "r")
	require.NoError(t, err)
	require.Equal(t, map[string]int{event.CodeSourceMissing: 1}, failures)
}

// TestNoMoreItemsThanAllowedAreInHand, and what is empty or too large never becomes a job.
func TestNoMoreItemsThanAllowedAreInHand(t *testing.T) {
	t.Parallel()
	jobs, _, c := setup(t, store.RunSpec{}, "empty", "huge", "a", "b", "c", "d", "e")
	for range 4 {
		run := once(t, jobs, c)
		require.LessOrEqual(t, run.Counts[store.ItemRunning], 3)
	}
	run, err := jobs.GetRun(t.Context(), "r")
	require.NoError(t, err)
	require.Equal(t, []int{2, 3, 2}, []int{run.Counts[store.ItemPending], run.Counts[store.ItemRunning], run.Counts[store.ItemFailed]})
	failures, err := jobs.RunFailures(t.Context(), "r")
	require.NoError(t, err)
	require.Equal(t, map[string]int{event.CodeAudioEmpty: 1, event.CodeAudioTooLarge: 1}, failures)
}

// TestARunAtALimitOfItsTenantWaits and says so, reads no file meanwhile, fails nothing, and goes on when there is room.
func TestARunAtALimitOfItsTenantWaits(t *testing.T) {
	t.Parallel()
	jobs, p, c := setup(t, store.RunSpec{}, "a", "b", "c", "d", "e")
	limit := func(l client.TenantLimits) {
		t.Helper()
		_, err := jobs.SetTenant(t.Context(), event.TenantDefault, true, l)
		require.NoError(t, err)
	}
	counts := func(r store.Run) []int {
		return []int{r.Counts[store.ItemPending], r.Counts[store.ItemRunning], r.Counts[store.ItemFailed]}
	}
	limit(client.TenantLimits{OpenJobs: 2, UploadBytesPerDay: 1})
	require.Equal(t, []int{3, 2, 0}, counts(once(t, jobs, c)))
	p.away.Store(true)
	run := once(t, jobs, c)
	require.Equal(t, []int{3, 2, 0}, counts(run))
	require.Equal(t, []any{store.RunRunning, "waiting: tenant is at its limit open_jobs of 2"}, []any{run.State, run.Reason})
	p.away.Store(false)
	limit(client.TenantLimits{WindowsInFlight: 3})
	require.Equal(t, []int{2, 3, 0}, counts(once(t, jobs, c)))

	items, err := jobs.RunItems(t.Context(), "r", store.ItemRunning, 0, 1)
	require.NoError(t, err)
	job, err := jobs.Peek(t.Context(), items[0].JobID)
	require.NoError(t, err)
	require.True(t, job.Isolated, "as its tenant is")
	for _, it := range items { // its end makes room
		win := &eventpb.Window{}
		_, err = jobs.Record(t.Context(), []store.Entry{
			{Plan: &eventpb.JobPlan{JobId: it.JobID, Track: &eventpb.Track{}, Windows: []*eventpb.Window{win}, Questions: 1}},
			{Outcome: &eventpb.Outcome{
				OutcomeId: event.OutcomeID(it.JobID, 0, 0), JobId: it.JobID, State: eventpb.State_STATE_FAILED, Error: &eventpb.Error{Code: event.CodeInternal},
				Question: &eventpb.Question{Text: "q"}, Window: win,
			}},
		})
		require.NoError(t, err)
	}
	run = once(t, jobs, c)
	require.Equal(t, []any{[]int{1, 3, 1}, ""}, []any{counts(run), run.Reason})
	start, err := jobs.StartItems(t.Context(), "r", []store.ItemStart{{N: 5, Job: job}}, nil, client.TenantLimits{OpenJobs: 3})
	require.NoError(t, err)
	require.Equal(t, store.Started{Held: &store.LimitError{Name: "open_jobs", Most: 3}}, start, "the limit holds in the transaction too")
}

// TestARunPausesWhenTooMuchFails, once enough items have ended to judge by; whoever resumes it has seen that.
func TestARunPausesWhenTooMuchFails(t *testing.T) {
	t.Parallel()
	var names []string
	for n := range 30 {
		names = append(names, fmt.Sprint(n, "missing"))
	}
	jobs, _, c := setup(t, store.RunSpec{MaxFailures: 0.05}, names...)
	var run store.Run
	for range 30 {
		if run = once(t, jobs, c); run.State == store.RunPaused {
			break
		}
	}
	require.Equal(t, store.RunPaused, run.State)
	require.GreaterOrEqual(t, run.Counts[store.ItemFailed], 20)
	require.Positive(t, run.Counts[store.ItemPending])
	require.Contains(t, run.Reason, "look at the failures")
	_, err := jobs.ResumeRun(t.Context(), "r")
	require.NoError(t, err)
	for range 30 {
		run = once(t, jobs, c)
	}
	require.Equal(t, []any{store.RunFailed, 30}, []any{run.State, run.Counts[store.ItemFailed]})
}

// TestARunOfWhichNothingEndsSaysSo: while a stage is away the run fails nothing, says since when it waits, and stops saying so when items end again.
func TestARunOfWhichNothingEndsSaysSo(t *testing.T) {
	t.Parallel()
	jobs, _, c := setup(t, store.RunSpec{}, "a", "b", "c", "d", "e")
	at := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	c.SetNow(func() time.Time { return at })
	require.Equal(t, 3, once(t, jobs, c).Counts[store.ItemRunning])
	for range 2 { // the second look notes nothing new
		require.Empty(t, once(t, jobs, c).Reason)
		at = at.Add(50 * time.Second)
	}
	for range 2 {
		run := once(t, jobs, c)
		require.Equal(t, []int{2, 3, 0}, []int{run.Counts[store.ItemPending], run.Counts[store.ItemRunning], run.Counts[store.ItemFailed]})
		require.Contains(t, run.Reason, "waiting: no item has ended since 2026-05-01T12:00:00Z, with 3 in hand: a stage is down or waits")
	}
	answerAll(t, jobs)
	run := once(t, jobs, c)
	require.Equal(t, []any{3, ""}, []any{run.Counts[store.ItemSucceeded], run.Reason})
}

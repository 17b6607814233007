package batches_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/gateway/internal/batches"
	"github.com/larkstream/larkstream/gateway/internal/openai"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/storetest"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is a job store with a controller; the test plays the stages.
type rig struct {
	*testing.T
	jobs  *store.SQL
	blobs *blob.Store
	ctl   *batches.Controller

	mu        sync.Mutex
	made      []string // ids of jobs
	lines     []string
	cancelled []string
	down      error // why no job can be made now
}

// BatchJob plays the API: a body with "bad" is refused.
func (r *rig) BatchJob(_ context.Context, tenant store.Tenant, line io.Reader, until time.Time) (store.Job, error) {
	raw, err := io.ReadAll(line)
	if err != nil {
		return store.Job{}, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down != nil {
		return store.Job{}, r.down
	}
	if strings.Contains(string(raw), "bad") {
		return store.Job{}, openai.Refuse(http.StatusUnprocessableEntity, "messages", "question_invalid", "bad")
	}
	id := fmt.Sprintf("job-%03d", len(r.made)+1)
	r.made, r.lines = append(r.made, id), append(r.lines, strings.TrimSpace(string(raw)))
	return store.NewJob(tenant.Name, event.JobSpec{
		ID: id, Plan: event.PlanAuto, Questions: []string{"q"}, Created: time.Now(), Deadline: until, Options: event.Options{Lane: event.LaneBulk}, Audio: event.AudioFile{SHA256: "00ff", Bytes: 7},
	}, ""), nil
}

func (r *rig) BatchAnswer(job store.Job, outcomes []*eventpb.Outcome) (int, any) {
	if job.State != store.Succeeded {
		return http.StatusInternalServerError, openai.ErrorBody{}
	}
	return http.StatusOK, map[string]any{"answers": len(outcomes)}
}

func setup(t *testing.T) *rig {
	t.Helper()
	r := &rig{T: t}
	var err error
	r.jobs, err = store.Open(t.Context(), storetest.URL(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.jobs.Close()) })
	r.blobs, err = blob.Open(t.Context(), "mem://")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.blobs.Close()) })
	r.ctl = r.gateway()
	return r
}

// gateway is one more controller on the same stores.
func (r *rig) gateway() *batches.Controller {
	ctl, err := batches.New(batches.Config{InFlight: 4, Page: 3, Lead: time.Nanosecond}, batches.Deps{
		Store: r.jobs, Blobs: r.blobs, Jobs: r, Wake: func() {}, SpoolDir: r.TempDir(), Log: slog.New(slog.DiscardHandler),
		Cancel: func(ctx context.Context, job store.Job) error {
			r.cancelled = append(r.cancelled, job.ID)
			if _, err := r.jobs.Cancel(ctx, job.ID, nil, nil); err != nil {
				return err
			}
			r.end(job.ID, eventpb.State_STATE_CANCELLED)
			return nil
		},
	})
	require.NoError(r, err)
	return ctl
}

// batch makes a batch of lines.
func (r *rig) batch(window time.Duration, lines ...string) string {
	r.Helper()
	require.NoError(r, r.blobs.PutBytes(r.Context(), store.FileKey("file-in"), []byte(strings.Join(lines, "\n"))))
	require.NoError(r, r.jobs.CreateBatch(r.Context(), store.Batch{
		ID: "batch_1", Tenant: event.TenantDefault, Created: time.Now(), Expires: time.Now().Add(window),
		Spec: store.BatchSpec{Input: "file-in", Endpoint: "/v1/chat/completions", Window: "24h", KeepS: 3600},
	}))
	return "batch_1"
}

func line(id, content string) string {
	return fmt.Sprintf(`{"custom_id":%q,"method":"POST","url":"/v1/chat/completions","body":{"messages":[{"content":[{"input_audio":{"data":"UklGRg=="}}]}],"x":%q}}`, id, content)
}

// end ends a job.
func (r *rig) end(id string, state eventpb.State) {
	r.Helper()
	o := &eventpb.Outcome{OutcomeId: id + "-o", JobId: id, Question: &eventpb.Question{Text: "q"}, State: state, Window: &eventpb.Window{Hash: "h"}}
	if state != eventpb.State_STATE_ANSWERED {
		o.Error = &eventpb.Error{Code: "cancelled"}
	}
	_, err := r.jobs.Record(r.Context(), []store.Entry{
		{Plan: &eventpb.JobPlan{JobId: id, Questions: 1, Track: &eventpb.Track{DurationS: 10}, Windows: []*eventpb.Window{{Hash: "h", Span: &eventpb.Span{EndS: 10}}}}}, {Outcome: o},
	})
	require.NoError(r, err)
}

// work does rounds until nothing goes on.
func (r *rig) work(ctl *batches.Controller) {
	r.Helper()
	for {
		busy, err := ctl.Once(r.Context())
		require.NoError(r, err)
		if !busy {
			return
		}
	}
}

func (r *rig) now() store.Batch {
	r.Helper()
	b, err := r.jobs.GetBatch(r.Context(), "batch_1")
	require.NoError(r, err)
	return b
}

// results reads a file of results by custom_id.
func (r *rig) results(id string) (order []string, byID map[string]openai.ResultLine) {
	r.Helper()
	raw, err := r.blobs.GetBytes(r.Context(), store.FileKey(id), 1<<20)
	require.NoError(r, err)
	byID = map[string]openai.ResultLine{}
	for text := range strings.Lines(string(raw)) {
		var l openai.ResultLine
		require.NoError(r, json.Unmarshal([]byte(text), &l))
		order, byID[l.CustomID] = append(order, l.CustomID), l
	}
	return order, byID
}

func TestABatchBecomesJobsAndFiles(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.batch(time.Hour, line("a", ""), "", line("b", "bad"), line("c", ""), line("d", ""), line("e", ""), line("f", "")+"  ")
	r.work(r.ctl)
	require.Len(t, r.made, 4, "no more are in hand at once")
	require.Equal(t, store.BatchInProgress, r.now().State)
	other := r.gateway() // the first one is killed, and another one goes on where it was
	for n := 0; n < len(r.made); n++ {
		r.end(r.made[n], eventpb.State_STATE_ANSWERED)
		r.work(other)
	}
	require.ElementsMatch(t, []string{line("a", ""), line("c", ""), line("d", ""), line("e", ""), line("f", "")}, r.lines, "each line became one job")
	b := r.now()
	require.Equal(t, store.BatchCompleted, b.State)
	require.Equal(t, [3]int{6, 5, 1}, [3]int{b.Total, b.Completed, b.Failed})
	order, output := r.results(b.Output)
	require.Equal(t, []string{"a", "c", "d", "e", "f"}, order, "in the order of the requests")
	require.Equal(t, 200, output["c"].Response.Status)
	require.Contains(t, r.made, output["c"].Response.RequestID)
	order, faults := r.results(b.Errors)
	require.Equal(t, []string{"b"}, order)
	require.Equal(t, 400, faults["b"].Response.Status)
	require.Contains(t, fmt.Sprint(faults["b"].Response.Body), "question_invalid")
}

func TestACancelledBatchKeepsItsAnswers(t *testing.T) {
	t.Parallel()
	for state, code := range map[store.BatchState]string{store.BatchCancelled: "batch_cancelled", store.BatchExpired: "batch_expired"} {
		r := setup(t)
		window := time.Hour
		r.batch(window, line("a", ""), line("b", ""), line("c", ""), line("d", ""), line("e", ""))
		r.work(r.ctl)
		r.end(r.made[0], eventpb.State_STATE_ANSWERED)
		stop := store.BatchCancelling
		if state == store.BatchExpired {
			stop = store.BatchExpiring
		}
		_, err := r.jobs.StopBatch(t.Context(), "batch_1", stop)
		require.NoError(t, err)
		r.work(r.ctl)
		b := r.now()
		require.Equal(t, state, b.State)
		require.Len(t, r.cancelled, 3)
		require.Len(t, r.made, 4, "the last one never began")
		order, _ := r.results(b.Output)
		require.Len(t, order, 1)
		order, left := r.results(b.Errors)
		require.Len(t, order, 4)
		for _, l := range left {
			require.Nil(t, l.Response)
			require.Equal(t, code, l.Error.Code)
		}
	}
}

func TestABatchExpires(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.batch(-time.Second, line("a", ""))
	r.work(r.ctl)
	require.Equal(t, store.BatchExpired, r.now().State)
	require.Empty(t, r.made)
}

func TestWhatCannotBeDoneNowWaits(t *testing.T) {
	t.Parallel()
	r := setup(t)
	r.batch(time.Hour, line("a", ""))
	r.down = context.DeadlineExceeded
	_, err := r.ctl.Once(t.Context()) // reads the file
	require.NoError(t, err)
	_, err = r.ctl.Once(t.Context())
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.Equal(t, 1, r.now().Pending)
	r.down = nil
	r.work(r.ctl)
	require.Len(t, r.made, 1)
	require.NoError(t, r.jobs.Delete(t.Context(), r.ended(r.made[0])))
	r.work(r.ctl)
	_, faults := r.results(r.now().Errors)
	require.Equal(t, store.CodeJobDeleted, faults["a"].Error.Code)
}

// ended is the id of a job that it ends.
func (r *rig) ended(id string) string {
	r.end(id, eventpb.State_STATE_ANSWERED)
	return id
}

func TestFilesThatAreRefused(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		lines []string
		code  string
		line  int
	}{
		"json":       {[]string{line("a", ""), `{"custom_id":`}, "invalid_json_line", 2},
		"base64":     {[]string{strings.Replace(line("a", ""), "UklGRg==", "!", 1)}, "invalid_json_line", 1},
		"no id":      {[]string{`{"method":"POST","url":"/v1/chat/completions","body":{}}`}, "missing_required_parameter", 1},
		"long id":    {[]string{line(strings.Repeat("x", 513), "")}, "invalid_custom_id", 1},
		"twice":      {[]string{line("a", ""), "", line("a", "")}, "duplicate_custom_id", 3},
		"method":     {[]string{strings.Replace(line("a", ""), "POST", "GET", 1)}, "invalid_method", 1},
		"url":        {[]string{strings.Replace(line("a", ""), "/v1/chat", "/v1/x", 1)}, "mismatched_url", 1},
		"body":       {[]string{`{"custom_id":"a","method":"POST","url":"/v1/chat/completions","body":[]}`}, "missing_required_parameter", 1},
		"no object":  {[]string{`[1]`}, "invalid_request", 1},
		"empty":      {[]string{"", " \t", ""}, "empty_file", 0},
		"large line": {[]string{line("a", strings.Repeat("x", openai.MaxRequest))}, "invalid_json_line", 1},
	} {
		r := setup(t)
		r.batch(time.Hour, c.lines...)
		r.work(r.ctl)
		b := r.now()
		require.Equal(t, store.BatchFailed, b.State, name)
		require.Len(t, b.Faults, 1, name)
		require.Equal(t, c.code, b.Faults[0].Code, name)
		if c.line > 0 {
			require.Equal(t, c.line, *b.Faults[0].Line, name)
		}
		require.Empty(t, r.made)
	}
	r := setup(t)
	r.batch(time.Hour, line("a", ""))
	require.NoError(t, r.blobs.Delete(t.Context(), store.FileKey("file-in")))
	r.work(r.ctl)
	require.Equal(t, "file_not_found", r.now().Faults[0].Code)
}

func TestNewRefusesMissingDependencies(t *testing.T) {
	t.Parallel()
	_, err := batches.New(batches.Config{}, batches.Deps{})
	require.Error(t, err)
}

package api_test

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/api"
	"github.com/larkstream/larkstream/gateway/internal/store"
)

// poisoned is a job store with a job that has no form in JSON.
type poisoned struct{ api.Store }

func (poisoned) List(context.Context, store.ListQuery) ([]store.Job, error) {
	job := store.Job{State: store.Queued}
	job.Created = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	return []store.Job{job}, nil
}

// logged is a log that tests read.
type logged struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func TestAViewThatCannotBeEncodedIsOne500(t *testing.T) {
	t.Parallel()
	var log logged
	r := setupDeps(t, func(d *api.Deps) {
		d.Store = poisoned{d.Store}
		d.Log = slog.New(slog.NewTextHandler(&log, nil))
	})
	a := r.do(http.MethodGet, "/v1/jobs", nil)
	require.Equal(t, http.StatusInternalServerError, a.status)
	require.Equal(t, "internal", a.problem(t).Code)
	require.Contains(t, log.String(), "level=ERROR")
	require.Contains(t, log.String(), "year outside of range")
	require.Equal(t, http.StatusOK, r.do(http.MethodGet, "/v1/models", nil).status, "the others are served")
}

func TestAHandlerThatPanicsIsOne500(t *testing.T) {
	t.Parallel()
	var log logged
	r := setupDeps(t, func(d *api.Deps) { d.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	r.api.Handle("GET /panics", http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a fault") }))
	r.api.Handle("GET /breaks", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("half of"))
		panic("a fault")
	}))
	require.Equal(t, "internal", r.do(http.MethodGet, "/panics", nil).problem(t).Code)
	require.Contains(t, log.String(), "a fault")
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, r.url+"/breaks", nil)
	require.NoError(t, err)
	resp, err := r.http.Do(req)
	if err == nil {
		_, err = new(bytes.Buffer).ReadFrom(resp.Body)
		require.NoError(t, resp.Body.Close())
	}
	require.Error(t, err, "what breaks off must not look whole")
}

func TestAWrongMethodIsToldTheRightOnes(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, tc := range []struct{ method, path, allow string }{
		{http.MethodPut, "/v1/jobs", "GET, HEAD, POST"},
		{http.MethodPatch, "/v1/jobs/x", "GET, HEAD, DELETE"},
		{http.MethodGet, "/v1/jobs/x/cancel", "POST"},
		{http.MethodDelete, "/openapi.json", "GET, HEAD"},
		{"BREW", "/v1/models", "GET, HEAD"},
	} {
		a := r.do(tc.method, tc.path, nil)
		require.Equal(t, http.StatusMethodNotAllowed, a.status, tc.path)
		require.Equal(t, tc.allow, a.header.Get("Allow"), tc.path)
		require.Equal(t, "method_not_allowed", a.problem(t).Code)
	}
	a := r.do(http.MethodGet, "/v2/nothing", nil)
	require.Equal(t, "not_found", a.problem(t).Code)
	require.Empty(t, a.header.Get("Allow"))
}

// TestMethodsOfAnAddress: an address that the specification names takes the methods named there, whatever would take any name in its place.
func TestMethodsOfAnAddress(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for path, want := range map[string]string{"/v1/dead/purge": "POST", "/v1/runs/plan": "POST", "/v1/runs/x": "GET, HEAD", "/v1/jobs": "GET, HEAD, POST"} {
		a := r.do(http.MethodPut, path, nil)
		require.Equal(t, http.StatusMethodNotAllowed, a.status, path)
		require.Equal(t, want, a.header.Get("Allow"), path)
	}
}

func TestParametersWithoutAValueAreRefused(t *testing.T) {
	t.Parallel()
	r := setup(t)
	for _, query := range []string{"until=", "since=", "state=", "limit=", "label="} {
		a := r.do(http.MethodGet, "/v1/jobs?"+query, nil)
		require.Equal(t, http.StatusUnprocessableEntity, a.status, query)
		require.Contains(t, a.problem(t).Detail, "has no value")
	}
	require.Equal(t, http.StatusUnprocessableEntity, r.do(http.MethodGet, "/v1/runs/x/similar?item=a&n=", nil).status, "also of operations that take their time")
	require.Equal(t, http.StatusOK, r.do(http.MethodGet, "/v1/jobs?cursor=", nil).status)
}

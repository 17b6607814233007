package client_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/api"
	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/gateway/internal/dead"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/storetest"
	"github.com/larkstream/larkstream/gateway/internal/stream"
	"github.com/larkstream/larkstream/gateway/internal/survey"
	"github.com/larkstream/larkstream/gateway/internal/web"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/fetch"
	"github.com/larkstream/larkstream/shared/source"
)

// gateway is the real handler over real stores. The tests play the stages: they write outcomes and feed events.
type gateway struct {
	*client.Client
	t      *testing.T
	srv    *httptest.Server
	jobs   *store.SQL
	hub    *stream.Hub
	offset int64
	// refuse, while it is above 0, answers requests with 503 and counts down.
	refuse atomic.Int32
}

func startGateway(t *testing.T) *gateway {
	t.Helper()
	g := &gateway{t: t, hub: stream.New(stream.Config{})}
	var err error
	g.jobs, err = store.Open(t.Context(), storetest.URL(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, g.jobs.Close()) })
	blobs, err := blob.Open(t.Context(), "mem://")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, blobs.Close()) })
	fetcher, err := fetch.New(fetch.Config{MaxBytes: 1 << 20, Timeout: time.Minute}, fetch.Deps{})
	require.NoError(t, err)
	log := slog.New(slog.DiscardHandler)
	look, err := survey.New(survey.Deps{Store: g.jobs, Sources: &source.Sources{}, Stored: blobs.Exists, Readers: 1, MaxBytes: 1 << 20})
	require.NoError(t, err)
	guard, err := fetch.NewGuard(nil, fetch.Deps{})
	require.NoError(t, err)
	handler, err := api.New(api.Limits{
		MaxAudioBytes: 1 << 20, MaxQuestions: 4, MaxQuestionChars: 50, MaxSpans: 3, MaxAnswers: 100, MaxOpenJobs: 100,
		MaxUploads: 8, MaxUploadsPerClient: 32, MaxStreams: 8, MaxStreamsPerClient: 32, MinUploadRate: 1, UploadWindow: time.Minute,
		UploadTimeout: time.Hour, RequestTimeout: time.Hour, StreamTimeout: time.Hour, Heartbeat: time.Hour, IdempotencyTTL: time.Hour,
	}, api.Deps{
		Store: g.jobs, Blobs: blobs, Fetcher: fetcher, Hub: g.hub, Wake: func() {}, Metrics: noMetrics{},
		Models: []client.Model{{ID: "nano"}}, Dead: new(dead.Letters), Supersede: g.jobs, Runs: g.jobs, Survey: look, WakeRuns: func() {},
		Files: g.jobs, FileBlobs: blobs, Batches: g.jobs, WakeBatches: func() {}, Admin: g.jobs, Webhooks: g.jobs, Guard: guard, Forget: func() {}, SpoolDir: t.TempDir(), Log: log,
	})
	require.NoError(t, err)
	callers, err := auth.New(auth.Config{Mode: auth.ModeNone}, g.jobs)
	require.NoError(t, err)
	guarded := callers.Guard(log, web.WriteProblem)(handler.Handler())
	g.srv = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if g.refuse.Add(-1) >= 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		guarded.ServeHTTP(w, r)
	}))
	t.Cleanup(g.srv.Close)
	t.Cleanup(handler.Close)
	g.Client, err = client.New(g.srv.URL, g.srv.Client())
	require.NoError(t, err)
	return g
}

type noMetrics struct{}

func (noMetrics) JobAccepted(context.Context, string) {}

func (g *gateway) submit() client.Job {
	g.t.Helper()
	job, err := g.Submit(g.t.Context(), client.Submission{Questions: []string{"Key?"}}, track(), client.SubmitOptions{})
	require.NoError(g.t, err)
	return job
}

func track() *client.Upload { return &client.Upload{Name: "a.wav", Reader: strings.NewReader("RIFF")} }

// say puts an event on the log.
func (g *gateway) say(ev *eventpb.Event) {
	g.offset++
	g.hub.Append(g.offset, ev)
}

func (g *gateway) token(jobID, text string) {
	g.say(&eventpb.Event{JobId: jobID, Body: &eventpb.Event_Token{Token: &eventpb.TokenDelta{Text: text}}})
}

// plan makes a job one of so many windows; answer answers one of them and tells it.
func (g *gateway) plan(jobID string, windows int) {
	g.t.Helper()
	plan := &eventpb.JobPlan{JobId: jobID, Questions: 1, Track: &eventpb.Track{DurationS: 60}}
	for i := range windows {
		plan.Windows = append(plan.Windows, window(i))
	}
	_, err := g.jobs.Record(g.t.Context(), []store.Entry{{Plan: plan}})
	require.NoError(g.t, err)
}

func window(i int) *eventpb.Window {
	return &eventpb.Window{Index: uint32(i), Hash: fmt.Sprintf("%064x", i+1), Span: &eventpb.Span{EndS: 25}, HeardS: 25}
}

func (g *gateway) answer(jobID string, windows ...int) {
	g.t.Helper()
	var entries []store.Entry
	for _, i := range windows {
		o := event.NewOutcome(&eventpb.Task{JobId: jobID, Window: window(i)}, &eventpb.Question{Text: "Key?"})
		o.State, o.Answer = eventpb.State_STATE_ANSWERED, fmt.Sprint("answer ", i)
		entries = append(entries, store.Entry{Outcome: o})
	}
	results, err := g.jobs.Record(g.t.Context(), entries)
	require.NoError(g.t, err)
	for _, res := range results {
		g.say(&eventpb.Event{JobId: jobID, Body: &eventpb.Event_Outcome{Outcome: res.Outcomes[0]}})
		if res.JustEnded {
			g.say(&eventpb.Event{JobId: jobID, Body: &eventpb.Event_Ended{Ended: &eventpb.JobEnded{
				State: string(res.Job.State), Answered: uint32(res.Job.Answered),
			}}})
		}
	}
}

// watching runs Events and hands each event over one by one.
func (g *gateway) watching(jobID, after string) (next func() client.Event, done func() error) {
	events, result := make(chan client.Event), make(chan error, 1)
	ctx, cancel := context.WithCancel(g.t.Context())
	g.t.Cleanup(cancel)
	go func() {
		result <- g.Events(ctx, jobID, after, func(ev client.Event) error {
			select {
			case events <- ev:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
	}()
	return func() client.Event { return <-events }, func() error { return <-result }
}

// TestEventsResume: broken connections and refusals in between neither lose nor repeat an event.
func TestEventsResume(t *testing.T) {
	t.Parallel()
	g := startGateway(t)
	job := g.submit()
	g.plan(job.ID, 2)
	next, done := g.watching(job.ID, "")
	g.token(job.ID, "one")
	require.Equal(t, "one", next().Token.Text)
	g.srv.CloseClientConnections()
	g.token(job.ID, "two")
	require.Equal(t, "two", next().Token.Text)
	g.refuse.Store(2)
	g.srv.CloseClientConnections()
	g.answer(job.ID, 0)
	outcome := next()
	require.Equal(t, "answer 0", outcome.Outcome.Answer)
	require.Negative(t, g.refuse.Load(), "the client came back after two refusals")
	g.srv.CloseClientConnections()
	g.answer(job.ID, 1)
	require.Equal(t, "answer 1", next().Outcome.Answer)
	require.Equal(t, client.StateSucceeded, next().End.State)
	require.NoError(t, done())

	// Another process goes on where the first had come to.
	next, done = g.watching(job.ID, outcome.ID)
	require.Equal(t, "answer 1", next().Outcome.Answer)
	require.Equal(t, 2, next().End.Answered)
	require.NoError(t, done())
}

// TestEventsPlaceOfAStoredOutcome: an outcome that came without an id is not told again, and the watch goes on from its place.
func TestEventsPlaceOfAStoredOutcome(t *testing.T) {
	t.Parallel()
	places := make(chan string, 3)
	bodies := []string{
		"event: outcome\ndata: {\"id\":\"o\"}\n\nid: 5\n\n",
		"id: 6\nevent: end\ndata: {\"state\":\"succeeded\"}\n\n",
	}
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		places <- r.Header.Get("Last-Event-ID")
		_, _ = io.WriteString(w, bodies[len(places)-1])
	})
	var kinds []string
	require.NoError(t, c.Events(t.Context(), "j", "", func(ev client.Event) error {
		kinds = append(kinds, ev.Kind)
		return nil
	}))
	require.Equal(t, []string{client.EventOutcome, client.EventEnd}, kinds)
	require.Empty(t, <-places)
	require.Equal(t, "5", <-places)
}

// TestEventsEndWithTheirContext: however often the gateway could not be reached.
func TestEventsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	g := startGateway(t)
	job := g.submit()
	ctx, cancel := context.WithCancelCause(t.Context())
	gone, attempts := errors.New("caller is gone"), 0
	c, err := client.New(g.srv.URL, &http.Client{Transport: transport(func(*http.Request) (*http.Response, error) {
		if attempts++; attempts == 2 {
			cancel(gone)
		}
		return nil, errors.New("connection refused")
	})})
	require.NoError(t, err)
	err = c.Events(ctx, job.ID, "", nil)
	require.ErrorIs(t, err, gone)
	require.ErrorContains(t, err, "watching job "+job.ID)
	require.Equal(t, 2, attempts)
}

type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestMalformedStreamsEndTheWatch: to connect again would bring the same again, for ever.
func TestMalformedStreamsEndTheWatch(t *testing.T) {
	t.Parallel()
	big := strings.Repeat("x", 600_000)
	for name, body := range map[string]string{
		"no JSON":           "id: 1\nevent: token\ndata: {\"text\":\n\n",
		"another type":      "id: 1\nevent: outcome\ndata: {\"id\":7}\n\n",
		"a line too long":   "data: " + big + big + "\n\n",
		"an event too long": "data: " + big + "\ndata: " + big + "\n\n",
	} {
		var connections atomic.Int32
		c := serve(t, func(w http.ResponseWriter, _ *http.Request) {
			connections.Add(1)
			_, _ = io.WriteString(w, body)
		})
		require.ErrorIs(t, c.Events(t.Context(), "j", "", nil), client.ErrMalformed, name)
		require.EqualValues(t, 1, connections.Load(), name)
	}
}

// TestHugeAnswers: what a server sends is read within bounds, and the caller is told.
func TestHugeAnswers(t *testing.T) {
	t.Parallel()
	c := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, "/refused") {
			w.WriteHeader(http.StatusInternalServerError)
		}
		_, _ = io.WriteString(w, `{"id":"`)
		for chunk := bytes.Repeat([]byte("x"), 1<<20); ; {
			if _, err := w.Write(chunk); err != nil {
				return // the client has read enough
			}
		}
	})
	_, err := c.Get(t.Context(), "j")
	require.ErrorContains(t, err, "it is larger than 16777216 bytes")
	_, err = c.Get(t.Context(), "refused")
	p, ok := client.AsProblem(err)
	require.True(t, ok)
	require.Equal(t, "http_500", p.Code)
	require.Len(t, p.Detail, 200)
}

// TestReadsEndWithTheirContext: a gateway that does not answer, or stops in the middle, holds nobody.
func TestReadsEndWithTheirContext(t *testing.T) {
	t.Parallel()
	for _, sent := range []string{"", `{"id":`} {
		reached := make(chan struct{}, 1)
		c := serve(t, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, sent)
			if sent != "" {
				_ = http.NewResponseController(w).Flush()
			}
			reached <- struct{}{}
			<-r.Context().Done()
		})
		for name, call := range map[string]func(context.Context) error{
			"get":      func(ctx context.Context) error { _, err := c.Get(ctx, "j"); return err },
			"list":     func(ctx context.Context) error { _, err := c.List(ctx, client.ListOptions{}); return err },
			"outcomes": func(ctx context.Context) error { _, err := c.Outcomes(ctx, "j"); return err },
			"cancel":   func(ctx context.Context) error { _, err := c.Cancel(ctx, "j"); return err },
			"models":   func(ctx context.Context) error { _, err := c.Models(ctx); return err },
			"wait":     func(ctx context.Context) error { _, _, err := c.Wait(ctx, "j", nil); return err },
		} {
			ctx, cancel := context.WithCancel(t.Context())
			go func() { <-reached; cancel() }()
			require.ErrorIs(t, call(ctx), context.Canceled, name)
		}
	}
}

func TestOutcomesOfManyPages(t *testing.T) {
	t.Parallel()
	g := startGateway(t)
	job := g.submit()
	const windows = 1201
	g.plan(job.ID, windows)
	all := make([]int, windows)
	for i := range all {
		all[i] = i
	}
	g.answer(job.ID, all...)
	outcomes, err := g.Outcomes(t.Context(), job.ID)
	require.NoError(t, err)
	require.Len(t, outcomes, windows)
	for i, o := range outcomes {
		require.Equal(t, i, o.Window.Index)
	}
	page, err := g.OutcomePage(t.Context(), job.ID, "", 2)
	require.NoError(t, err)
	require.Len(t, page.Outcomes, 2)
}

// TestSubmitAgain: with a key, what the network did to the first answer does not matter.
func TestSubmitAgain(t *testing.T) {
	t.Parallel()
	g := startGateway(t)
	g.refuse.Store(1)
	send := func(question string) (client.Job, error) {
		return g.Submit(t.Context(), client.Submission{Questions: []string{question}}, track(), client.SubmitOptions{IdempotencyKey: "k"})
	}
	_, err := send("Key?")
	p, ok := client.AsProblem(err)
	require.True(t, ok)
	require.True(t, p.Retryable, "a bare 503 may be tried again")
	first, err := send("Key?")
	require.NoError(t, err)
	again, err := send("Key?")
	require.NoError(t, err)
	require.Equal(t, first.ID, again.ID)
	require.True(t, again.IdempotentReply)
	_, err = send("Tempo?")
	p, ok = client.AsProblem(err)
	require.True(t, ok)
	require.False(t, p.Retryable)

	list, err := g.List(t.Context(), client.ListOptions{State: client.StateQueued, Limit: 1})
	require.NoError(t, err)
	require.Len(t, list.Jobs, 1)
	cancelled, err := g.Cancel(t.Context(), first.ID)
	require.NoError(t, err)
	require.Equal(t, client.StateCancelling, cancelled.State)
	models, err := g.Models(t.Context())
	require.NoError(t, err)
	require.Equal(t, []client.Model{{ID: "nano"}}, models)
}

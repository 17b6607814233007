package api_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

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

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// rig is the API over a real job store and object store, served on a real connection. The Kafka side is
// played by the test, which reads the outbox and feeds the hub.
type rig struct {
	t      testing.TB
	api    *api.API
	jobs   *store.SQL
	blobs  *blob.Store
	hub    *stream.Hub
	url    string
	client *client.Client
	http   *http.Client
	srv    *httptest.Server
	// mode of authentication.
	mode    string
	callers *auth.Authenticator
	woken   atomic.Int32
	// watching is told what the API tells of streams: "+job" at the beginning, "-job" at the end.
	watching chan string
	offset   int64
}

// patience is how long a test waits for what must come; a machine may be very busy.
const patience = time.Minute

func limits() api.Limits {
	return api.Limits{
		MaxAudioBytes: 4096, MaxQuestions: 4, MaxQuestionChars: 50, MaxSpans: 3, MaxAnswers: 6, MaxOpenJobs: 100, MaxUploads: 8, MaxUploadsPerClient: 8, MaxStreams: 8, MaxStreamsPerClient: 8,
		MinUploadRate: 1, UploadWindow: time.Minute,
		UploadTimeout: time.Minute, RequestTimeout: time.Minute, StreamTimeout: time.Hour, Heartbeat: time.Hour, IdempotencyTTL: time.Hour,
	}
}

func setup(t testing.TB, change ...func(*api.Limits, *stream.Config)) *rig {
	t.Helper()
	return setupDeps(t, func(*api.Deps) {}, change...)
}

func setupDeps(t testing.TB, deps func(*api.Deps), change ...func(*api.Limits, *stream.Config)) *rig {
	t.Helper()
	return setupRig(t, &rig{mode: auth.ModeNone}, deps, change...)
}

func setupMode(t testing.TB, mode string) *rig {
	t.Helper()
	return setupRig(t, &rig{mode: mode}, func(*api.Deps) {})
}

func setupRig(t testing.TB, r *rig, deps func(*api.Deps), change ...func(*api.Limits, *stream.Config)) *rig {
	t.Helper()
	l, sc := limits(), stream.Config{}
	for _, c := range change {
		c(&l, &sc)
	}
	r.t, r.hub, r.watching = t, stream.New(sc), make(chan string, 1000)
	var err error
	r.jobs, err = store.Open(t.Context(), storetest.URL(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.jobs.Close()) })
	r.blobs, err = blob.Open(t.Context(), "mem://")
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.blobs.Close()) })
	fetcher, err := fetch.New(fetch.Config{Allow: []string{"127.0.0.1"}, MaxBytes: l.MaxAudioBytes, Timeout: time.Minute}, fetch.Deps{})
	require.NoError(t, err)
	guard, err := fetch.NewGuard([]string{"127.0.0.1"}, fetch.Deps{})
	require.NoError(t, err)
	look, err := survey.New(survey.Deps{Store: r.jobs, Sources: &source.Sources{}, Stored: r.blobs.Exists, Readers: 1, MaxBytes: l.MaxAudioBytes})
	require.NoError(t, err)
	d := api.Deps{
		Store: r.jobs, Blobs: r.blobs, Fetcher: fetcher, Hub: r.hub, Wake: func() { r.woken.Add(1) }, Metrics: noMetrics{},
		Models: []client.Model{{ID: "nano", Object: client.ModelObject, OwnedBy: client.ModelOwner}}, Dead: new(dead.Letters), Supersede: r.jobs, Runs: r.jobs, Survey: look, WakeRuns: func() {}, Files: r.jobs, FileBlobs: r.blobs, Batches: r.jobs, WakeBatches: func() {}, Admin: r.jobs, Webhooks: r.jobs, Guard: guard, Forget: func() { r.callers.Forget() }, SpoolDir: t.TempDir(), Log: slog.New(slog.DiscardHandler),
		Watching: func(_ context.Context, job string) func() {
			r.watching <- "+" + job
			return func() { r.watching <- "-" + job }
		},
	}
	deps(&d)
	r.api, err = api.New(l, d)
	require.NoError(t, err)
	r.callers, err = auth.New(auth.Config{Mode: r.mode}, r.jobs)
	require.NoError(t, err)
	srv := httptest.NewServer(r.callers.Guard(d.Log, web.WriteProblem)(r.api.Handler()))
	t.Cleanup(srv.Close)
	t.Cleanup(r.api.Close)
	r.url, r.http, r.srv = srv.URL, srv.Client(), srv
	// A body after "Expect: 100-continue" is sent only once the handler reads it.
	srv.Client().Transport.(*http.Transport).ExpectContinueTimeout = patience
	r.client, err = client.New(srv.URL, srv.Client())
	require.NoError(t, err)
	return r
}

func (r *rig) log() *slog.Logger { return slog.New(slog.DiscardHandler) }

type noMetrics struct{}

func (noMetrics) JobAccepted(context.Context, string) {}

// answer is a response read whole.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func (a answer) problem(t *testing.T) client.Problem {
	t.Helper()
	require.Equal(t, "application/problem+json", a.header.Get("Content-Type"), "%s", a.body)
	var p client.Problem
	require.NoError(t, json.Unmarshal(a.body, &p))
	require.Equal(t, a.status, p.Status)
	return p
}

func (r *rig) do(method, path string, body io.Reader, header ...string) answer {
	r.t.Helper()
	req, err := http.NewRequestWithContext(r.t.Context(), method, r.url+path, body)
	require.NoError(r.t, err)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := r.http.Do(req)
	require.NoError(r.t, err)
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	require.NoError(r.t, err)
	return answer{resp.StatusCode, resp.Header, raw}
}

func (r *rig) json(body string, header ...string) answer {
	r.t.Helper()
	return r.do(http.MethodPost, "/v1/jobs", strings.NewReader(body), append([]string{"Content-Type", "application/json"}, header...)...)
}

// part of a form: a file when it has a name.
type part struct{ field, name, content string }

func form(t testing.TB, parts ...part) (body *bytes.Buffer, contentType string) {
	t.Helper()
	body = &bytes.Buffer{}
	w := multipart.NewWriter(body)
	for _, p := range parts {
		create := w.CreateFormField
		if p.name != "" {
			create = func(field string) (io.Writer, error) { return w.CreateFormFile(field, p.name) }
		}
		out, err := create(p.field)
		require.NoError(t, err)
		_, err = io.WriteString(out, p.content)
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	return body, w.FormDataContentType()
}

func (r *rig) form(parts ...part) answer {
	r.t.Helper()
	body, contentType := form(r.t, parts...)
	return r.do(http.MethodPost, "/v1/jobs", body, "Content-Type", contentType)
}

// submit makes a job of some questions.
func (r *rig) submit(questions ...string) client.Job {
	r.t.Helper()
	job, err := r.client.Submit(r.t.Context(), client.Submission{Questions: questions},
		&client.Upload{Name: "a.wav", Reader: strings.NewReader("RIFF")}, client.SubmitOptions{})
	require.NoError(r.t, err)
	return job
}

// outbox returns the messages that wait to be published.
func (r *rig) outbox() []store.Outgoing {
	r.t.Helper()
	pending, err := r.jobs.Pending(r.t.Context(), 1000)
	require.NoError(r.t, err)
	return pending
}

// lastJob decodes the newest job record of the outbox.
func (r *rig) lastJob() *eventpb.Job {
	r.t.Helper()
	out := r.outbox()
	require.NotEmpty(r.t, out)
	job, err := event.DecodeAs[*eventpb.Job](out[len(out)-1].Record)
	require.NoError(r.t, err)
	return job
}

// say feeds an event to the hub as the log would, with gaps between offsets.
func (r *rig) say(ev *eventpb.Event) {
	r.offset += 3
	r.hub.Append(r.offset, ev)
}

// record writes entries to the job store and, when told is set, says what the recorder would.
func (r *rig) record(told bool, entries ...store.Entry) {
	r.t.Helper()
	results, err := r.jobs.Record(r.t.Context(), entries)
	require.NoError(r.t, err)
	if !told {
		return
	}
	for _, res := range results {
		for _, o := range res.Outcomes {
			r.say(&eventpb.Event{JobId: res.Job.ID, Body: &eventpb.Event_Outcome{Outcome: o}})
		}
		if res.JustEnded {
			r.say(&eventpb.Event{JobId: res.Job.ID, Body: &eventpb.Event_Ended{Ended: &eventpb.JobEnded{
				State: string(res.Job.State), Answered: uint32(res.Job.Answered), Failed: uint32(res.Job.Failed),
			}}})
		}
	}
}

func planOf(id string, windows, questions int) store.Entry {
	p := &eventpb.JobPlan{JobId: id, Questions: uint32(questions), Track: &eventpb.Track{DurationS: 60}}
	for i := range windows {
		p.Windows = append(p.Windows, windowOf(i))
	}
	return store.Entry{Plan: p}
}

func windowOf(i int) *eventpb.Window {
	return &eventpb.Window{
		Index: uint32(i), Hash: fmt.Sprintf("%064x", i+1), HeardS: 25, Span: &eventpb.Span{StartS: 20 * float64(i), EndS: 20*float64(i) + 25},
	}
}

func answerOf(id string, question, window int) store.Entry {
	o := event.NewOutcome(&eventpb.Task{JobId: id, Window: windowOf(window), Cache: eventpb.Cache_CACHE_HIT}, &eventpb.Question{Index: uint32(question), Text: "q"})
	o.State, o.Answer, o.Model = eventpb.State_STATE_ANSWERED, fmt.Sprintf("answer %d/%d", question, window), "nano"
	return store.Entry{Outcome: o}
}

func tokenOf(id, text string) *eventpb.Event {
	return &eventpb.Event{JobId: id, Body: &eventpb.Event_Token{Token: &eventpb.TokenDelta{Text: text}}}
}

func progressOf(id, stage string, window uint32, status string) *eventpb.Event {
	return &eventpb.Event{JobId: id, Body: &eventpb.Event_Progress{Progress: &eventpb.Progress{Stage: stage, WindowIndex: window, Status: status}}}
}

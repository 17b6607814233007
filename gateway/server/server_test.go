package server_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/modeltest"
	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/server"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/config/configtest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

// patience is how long a test waits for what must come; a machine may be very busy.
const patience = time.Minute

// world is a gateway on an embedded broker, with a pretender for the stages.
type world struct {
	t      *testing.T
	kafka  kafka.Config
	cfg    server.Config
	client *client.Client
	url    string
	admin  string
	jobs   chan *eventpb.Job
	ctrl   chan *eventpb.Control
	prod   *kafka.Producer
	stop   func() // the gateway
	close  func() // everything
}

func setup(t *testing.T) *world {
	t.Helper()
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Log: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	w := setupOn(t, broker.Addr())
	t.Cleanup(w.close)
	return w
}

// setupOn is setup on a broker that the test runs; close must be called while it runs.
func setupOn(t *testing.T, addr string) *world {
	t.Helper()
	w := &world{
		t: t, kafka: kafka.Config{Brokers: []string{addr}},
		jobs: make(chan *eventpb.Job, 100), ctrl: make(chan *eventpb.Control, 100),
	}
	require.NoError(t, kafka.Provision(t.Context(), w.kafka, event.Topics()))
	var err error
	w.prod, err = kafka.NewProducer(w.kafka, kafka.Deps{Log: quiet})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	take := func(rec event.Record, _ int32, _ int64) {
		if job, err := event.DecodeAs[*eventpb.Job](rec); err == nil {
			w.jobs <- job
		}
	}
	_, wait := kafka.Tail(ctx, w.kafka, event.TopicJobs, kafka.Earliest, take)
	_, waitBulk := kafka.Tail(ctx, w.kafka, event.InLane(event.TopicJobs, event.LaneBulk), kafka.Earliest, take)
	_, waitCtrl := kafka.Tail(ctx, w.kafka, event.TopicControl, kafka.Earliest, func(rec event.Record, _ int32, _ int64) {
		if c, err := event.DecodeAs[*eventpb.Control](rec); err == nil {
			w.ctrl <- c
		}
	})
	w.close = sync.OnceFunc(func() {
		w.stop()
		cancel()
		require.NoError(t, wait())
		require.NoError(t, waitBulk())
		require.NoError(t, waitCtrl())
		require.NoError(t, w.prod.Close(context.Background()))
	})
	w.cfg, err = server.DefaultConfig()
	require.NoError(t, err)
	dir := t.TempDir()
	w.cfg.HTTPAddr, w.cfg.AdminAddr, w.cfg.KafkaBrokers, w.cfg.StateFile = "127.0.0.1:0", "127.0.0.1:0", w.kafka.Brokers, filepath.Join(dir, "run", "gateway.json")
	w.cfg.BlobURL = config.Secret("file://" + filepath.Join(dir, "blobs"))
	w.cfg.DatabaseURL = config.Secret("sqlite://" + filepath.Join(dir, "db", "gateway.db"))
	w.cfg.ModelDir, w.cfg.LogLevel = filepath.Join(dir, "none"), "error"
	w.cfg.Limits.Heartbeat = patience // a stream that resumes waits that long for the log to be read again
	w.start()
	return w
}

// start runs the gateway until stop is called, which waits for its end.
func (w *world) start() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, w.cfg) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(w.t, <-done)
		http.DefaultClient.CloseIdleConnections()
	})
	var state struct {
		HTTPAddr  string `json:"http_addr"`
		AdminAddr string `json:"admin_addr"`
	}
	require.Eventually(w.t, func() bool {
		raw, err := os.ReadFile(w.cfg.StateFile)
		return err == nil && json.Unmarshal(raw, &state) == nil && w.ready("http://"+state.HTTPAddr)
	}, patience, 20*time.Millisecond, "the gateway becomes ready")
	w.url, w.admin = "http://"+state.HTTPAddr, "http://"+state.AdminAddr
	var err error
	w.client, err = client.New(w.url, nil)
	require.NoError(w.t, err)
}

// serving is where a path is served.
func (w *world) serving(path string) string {
	if path == "/metrics" || path == "/v1/traces" || strings.HasPrefix(path, "/debug/") {
		return w.admin
	}
	return w.url
}

func (w *world) ready(url string) bool {
	req, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, url+"/readyz", nil)
	require.NoError(w.t, err)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

func (w *world) submit(questions ...string) client.Job {
	w.t.Helper()
	job, err := w.client.Submit(w.t.Context(), client.Submission{Questions: questions},
		&client.Upload{Name: "a.wav", Reader: bytes.NewReader([]byte("RIFF music " + w.t.Name()))}, client.SubmitOptions{})
	require.NoError(w.t, err)
	return job
}

// published waits for the job's record on lark.jobs.v1 or lark.jobs.bulk.v1.
func (w *world) published(id string) *eventpb.Job {
	w.t.Helper()
	for {
		select {
		case job := <-w.jobs:
			if job.GetJobId() == id {
				return job
			}
		case <-time.After(patience):
			require.FailNow(w.t, "the job was not published")
		}
	}
}

func (w *world) publish(msgs ...event.Record) {
	w.t.Helper()
	require.NoError(w.t, w.prod.Publish(w.t.Context(), msgs...))
}

func TestLifeOfAJob(t *testing.T) {
	t.Parallel()
	w := setup(t)
	job := w.submit("How fast is it?", "Which key?")
	require.Equal(t, client.StateQueued, job.State)
	rec := w.published(job.ID)
	require.Equal(t, "a.wav", rec.GetAudio().GetName())

	for _, r := range answers(t, rec, 2) {
		w.publish(r)
	}
	var kinds []string
	done, outcomes, err := w.client.Wait(t.Context(), job.ID, func(ev client.Event) error {
		kinds = append(kinds, ev.Kind)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, client.StateSucceeded, done.State)
	require.Len(t, outcomes, 4)
	require.Equal(t, []string{"outcome", "outcome", "outcome", "outcome", "end"}, kinds)
	require.Equal(t, client.Counts{Questions: 2, Windows: 2, Expected: 4, Answered: 4, WindowsDone: 2, CacheHits: 2}, done.Counts)
}

// TestCancel: the control record reaches the stages, and their outcomes end the job.
func TestCancel(t *testing.T) {
	t.Parallel()
	w := setup(t)
	job := w.submit("q")
	_, err := w.client.Cancel(t.Context(), job.ID)
	require.NoError(t, err)
	rec := w.published(job.ID)
	select {
	case c := <-w.ctrl:
		require.Equal(t, job.ID, c.GetJobId())
	case <-time.After(patience):
		require.FailNow(t, "the cancel was not published")
	}
	jobRecord := encode(t, rec)
	gone, err := event.FailedOutcomes("chunker", jobRecord, event.Failure{Code: event.CodeCancelled, Message: "cancelled"})
	require.NoError(t, err)
	w.publish(gone...)
	done, outcomes, err := w.client.Wait(t.Context(), job.ID, nil)
	require.NoError(t, err)
	require.Equal(t, client.StateCancelled, done.State)
	require.Equal(t, client.OutcomeCancelled, outcomes[0].State)
}

// TestRestart: a gateway started again publishes what it had promised, goes on recording, and resumes
// streams by the ids that it gave out before.
func TestRestart(t *testing.T) {
	t.Parallel()
	w := setup(t)
	job := w.submit("q")
	rec := w.published(job.ID)
	all := answers(t, rec, 3)
	w.publish(all[:2]...)
	first := w.firstID(job.ID)
	w.stop()
	w.publish(all[1:]...) // one of them again
	w.start()
	var kinds []string
	require.NoError(t, w.client.Events(t.Context(), job.ID, first, func(ev client.Event) error {
		kinds = append(kinds, ev.Kind)
		return nil
	}))
	require.Equal(t, []string{"outcome", "outcome", "end"}, kinds)
	done, err := w.client.Get(t.Context(), job.ID)
	require.NoError(t, err)
	require.Equal(t, client.StateSucceeded, done.State)
	require.Equal(t, 3, done.Counts.Answered)
}

// firstID watches a job until its first event comes with an id. The recorder stores an outcome before it tells of it on the log, so a
// watch that begins in between is told by the store, without an id.
func (w *world) firstID(jobID string) (first string) {
	w.t.Helper()
	stop := errors.New("seen enough")
	require.Eventually(w.t, func() bool {
		err := w.client.Events(w.t.Context(), jobID, "", func(ev client.Event) error {
			first = ev.ID
			return stop
		})
		return errors.Is(err, stop) && first != ""
	}, patience, 20*time.Millisecond, "the event reaches the log")
	return first
}

// TestBrokerAway: jobs are taken in and cancelled while the broker is away, and published in order when
// it is back.
func TestBrokerAway(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Dir: dir, Log: quiet})
	require.NoError(t, err)
	addr := broker.Addr()
	w := setupOn(t, addr)
	require.NoError(t, broker.Close())
	var ids []string
	for range 3 {
		ids = append(ids, w.submit("q").ID)
	}
	_, err = w.client.Cancel(t.Context(), ids[1])
	require.NoError(t, err)
	broker, err = kafka.StartBroker(kafka.BrokerConfig{Dir: dir, Addr: addr, Log: quiet})
	require.NoError(t, err)
	defer func() { require.NoError(t, broker.Close()) }()
	defer w.close()
	seen := map[string]bool{}
	for len(seen) < 3 {
		select {
		case rec := <-w.jobs:
			seen[rec.GetJobId()] = true
		case <-time.After(patience):
			require.FailNow(t, "the jobs were not published")
		}
	}
	require.Equal(t, ids[1], (<-w.ctrl).GetJobId())
}

// TestTheModelIsKnownByItsManifest: the gateway does not read weights, so it listens at once and whatever they are.
func TestTheModelIsKnownByItsManifest(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.stop()
	w.cfg.ModelDir = modeltest.Write(t, modeltest.Manifest())
	weights, err := filepath.Glob(filepath.Join(w.cfg.ModelDir, "*.safetensors"))
	require.NoError(t, err)
	require.NotEmpty(t, weights)
	for _, file := range weights {
		require.NoError(t, os.WriteFile(file, []byte("not what the manifest says"), 0o600))
	}
	w.start()
	models, err := w.client.Models(t.Context())
	require.NoError(t, err)
	require.Len(t, models, 1)
	require.NotEmpty(t, models[0].Digest)
	w.stop()

	manifest := modeltest.Manifest()
	manifest.Projector, manifest.LLM, manifest.Prompt = model.Projector{}, model.LLM{}, model.Prompt{}
	manifest.Encoder.SHA256, w.cfg.ModelDir = strings.Repeat("ab", 32), t.TempDir()
	require.NoError(t, manifest.Write(w.cfg.ModelDir))
	require.ErrorContains(t, server.Run(t.Context(), w.cfg), "has an encoder only")
}

// TestReadinessTellsWhatIsMissing: a gateway whose broker is away listens, and says what it waits for.
func TestReadinessTellsWhatIsMissing(t *testing.T) {
	t.Parallel()
	cfg, err := server.DefaultConfig()
	require.NoError(t, err)
	dir := t.TempDir()
	cfg.HTTPAddr, cfg.StateFile, cfg.LogLevel = "127.0.0.1:0", filepath.Join(dir, "gateway.json"), "error"
	cfg.KafkaBrokers, cfg.ModelDir = []string{"127.0.0.1:1"}, filepath.Join(dir, "none")
	cfg.BlobURL, cfg.DatabaseURL = config.Secret("file://"+filepath.Join(dir, "blobs")), config.Secret("sqlite://"+filepath.Join(dir, "gateway.db"))
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- server.Run(ctx, cfg) }()
	var state struct {
		HTTPAddr string `json:"http_addr"`
	}
	require.Eventually(t, func() bool {
		raw, err := os.ReadFile(cfg.StateFile)
		return err == nil && json.Unmarshal(raw, &state) == nil
	}, patience, 20*time.Millisecond, "the gateway listens")
	var said struct {
		Parts map[string]string `json:"parts"`
	}
	require.Eventually(t, func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+state.HTTPAddr+"/readyz", nil)
		require.NoError(t, err)
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
		require.NoError(t, json.NewDecoder(resp.Body).Decode(&said))
		return strings.Contains(said.Parts["topics"], "waiting for Kafka at 127.0.0.1:1 to make the topics: ")
	}, patience, 20*time.Millisecond, "the cause is told")
	cancel()
	require.NoError(t, <-done)
	http.DefaultClient.CloseIdleConnections()
}

// TestPagesAndTelemetry runs alone: OpenTelemetry's providers belong to the process, not to a gateway.
func TestPagesAndTelemetry(t *testing.T) {
	w := setup(t)
	for path, want := range map[string]string{
		"/": "<title>Larkstream</title>", "/docs": "Larkstream API", "/static/docs.js": "openapi.json", "/openapi.json": "submit-job",
		"/debug/traces": "Traces", "/metrics": "lark_ledger_imbalance 0", "/v1/models": `"models":[]`, "/healthz": "ok",
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.serving(path)+path, nil)
		require.NoError(t, err)
		require.Eventually(t, func() bool { // the first audit sets the metric
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				return false
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			return err == nil && resp.StatusCode == http.StatusOK && strings.Contains(string(body), want)
		}, patience, 20*time.Millisecond, path)
	}
	job := w.submit("q")
	require.NotEmpty(t, job.TraceID)
	rec := w.published(job.ID)
	w.publish(answers(t, rec, 1)...)
	_, _, err := w.client.Wait(t.Context(), job.ID, nil)
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.admin+"/debug/traces/"+job.TraceID, nil)
	require.NoError(t, err)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	require.Contains(t, string(body), "POST /v1/jobs")
}

func TestConfig(t *testing.T) {
	t.Parallel()
	configtest.Complete(t, func() any { return &server.Config{} }, "testdata/complete.yaml")
	cfg, err := server.DefaultConfig()
	require.NoError(t, err)
	require.NoError(t, cfg.Validate())
	require.Equal(t, "127.0.0.1:8080", cfg.HTTPAddr)
	cfg.Limits.MaxQuestions, cfg.DatabaseURL, cfg.Sweep.MaxBytes, cfg.Fetch.Allow, cfg.Hosts = 0, "mysql://x", -1, []string{"http://x"}, []string{"*"}
	err = cfg.Validate()
	for _, fault := range []string{"limits.max_questions", "database_url", "sweep", "fetch", "hosts"} {
		require.ErrorContains(t, err, fault)
	}
	require.Error(t, server.Command(t.Context(), []string{"--no-such-flag"}))
}

// TestOtherHostsAreRefused: a page that makes its own name resolve to this machine reads nothing, and probes are answered whatever they call us.
func TestOtherHostsAreRefused(t *testing.T) {
	t.Parallel()
	w := setup(t)
	w.stop()
	w.cfg.Hosts, w.cfg.Pprof = []string{"music.example"}, true
	w.start()
	status := func(host, path string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, w.serving(path)+path, nil)
		require.NoError(t, err)
		req.Host = host
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		return resp.StatusCode
	}
	for _, path := range []string{"/", "/v1/jobs", "/openapi.json", "/debug/traces", "/debug/pprof/cmdline", "/metrics"} {
		require.Equal(t, http.StatusMisdirectedRequest, status("attacker.example", path), path)
		require.Equal(t, http.StatusOK, status("music.example", path), path)
	}
	require.Equal(t, http.StatusMisdirectedRequest, status("attacker.example", "/v1/traces"))
	for _, path := range []string{"/healthz", "/readyz"} {
		require.Equal(t, http.StatusOK, status("10.9.8.7:8080", path), path)
	}
}

// TestEverythingButProbesNeedsAKey: pages included. Metrics, profiles and traces are on the admin address only.
func TestEverythingButProbesNeedsAKey(t *testing.T) {
	t.Parallel()
	const token = "0123456789abcdef0123456789abcdef"
	key := "lk_admin_" + strings.Repeat(token, 2)
	w := setup(t)
	w.stop()
	w.cfg.Token, w.cfg.AdminKey, w.cfg.Pprof = token, config.Secret(key), true
	w.start()
	status := func(base, method, path, token string) int {
		req, err := http.NewRequestWithContext(t.Context(), method, base+path, nil)
		require.NoError(t, err)
		if token != "" {
			req.SetBasicAuth("somebody", token)
		}
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		defer resp.Body.Close()
		_, err = io.Copy(io.Discard, resp.Body)
		require.NoError(t, err)
		return resp.StatusCode
	}
	for _, path := range []string{"/", "/docs", "/v1/jobs", "/openapi.json", "/nothing"} {
		require.Equal(t, http.StatusUnauthorized, status(w.url, http.MethodGet, path, ""), path)
		require.Equal(t, http.StatusUnauthorized, status(w.url, http.MethodGet, path, token[1:]), path)
		require.NotEqual(t, http.StatusUnauthorized, status(w.url, http.MethodGet, path, token), path)
		require.NotEqual(t, http.StatusUnauthorized, status(w.url, http.MethodGet, path, key), path)
	}
	for _, path := range []string{"/debug/traces", "/debug/pprof/cmdline", "/metrics"} {
		require.Equal(t, http.StatusNotFound, status(w.url, http.MethodGet, path, key), path)
		require.Equal(t, http.StatusOK, status(w.admin, http.MethodGet, path, ""), path)
	}
	require.Equal(t, http.StatusUnsupportedMediaType, status(w.admin, http.MethodPost, "/v1/traces", ""))
	require.Equal(t, http.StatusNotFound, status(w.admin, http.MethodGet, "/v1/jobs", key))
	for _, path := range []string{"/healthz", "/readyz"} {
		require.Equal(t, http.StatusOK, status(w.url, http.MethodGet, path, ""), path)
		require.Equal(t, http.StatusOK, status(w.admin, http.MethodGet, path, ""), path)
	}

	_, err := w.client.List(t.Context(), client.ListOptions{})
	problem, ok := client.AsProblem(err)
	require.True(t, ok)
	require.Equal(t, "unauthorized", problem.Code)
	w.client = w.client.WithToken(token)
	job := w.submit("q")
	w.publish(answers(t, w.published(job.ID), 1)...)
	_, _, err = w.client.Wait(t.Context(), job.ID, nil)
	require.NoError(t, err, "the stream of events takes the token too")
}

// TestAPoisonedRecordDoesNoHarm: a job from the year 10000 and an outcome with NaN, as a foreign producer may write them, become dead letters. The
// lists of jobs and outcomes stay whole.
func TestAPoisonedRecordDoesNoHarm(t *testing.T) {
	t.Parallel()
	w := setup(t)
	job := w.submit("q")
	records := answers(t, w.published(job.ID), 1)
	foreign := event.NewJob(event.JobSpec{
		ID: event.NewJobID(), Audio: event.AudioFile{SHA256: strings.Repeat("ab", 32)}, Questions: []string{"q"}, Plan: event.PlanAuto, Created: time.Now(),
	})
	ctx, cancel := context.WithCancel(context.Background())
	dead := make(chan string, 10)
	_, wait := kafka.Tail(ctx, w.kafka, event.TopicDead, kafka.Earliest, func(rec event.Record, _ int32, _ int64) { dead <- rec.Get(event.HeaderSubject) })
	defer func() { cancel(); require.NoError(t, wait()) }()

	fromTheFuture := encode(t, foreign)
	foreign.CreatedUnixMs = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()
	fromTheFuture.Value = marshal(t, foreign)
	notANumber := records[1]
	outcome, err := event.DecodeAs[*eventpb.Outcome](notANumber)
	require.NoError(t, err)
	outcome.Timings = &eventpb.Timings{TotalMs: math.NaN()}
	notANumber.Value = marshal(t, outcome)
	w.publish(fromTheFuture, notANumber)
	poisoned := map[string]bool{foreign.GetJobId(): true, job.ID: true}
	for len(poisoned) > 0 {
		select {
		case id := <-dead:
			delete(poisoned, id)
		case <-time.After(patience):
			require.FailNow(t, "no dead letter", "of %v", poisoned)
		}
	}
	_, _, err = w.client.Wait(t.Context(), job.ID, nil)
	require.NoError(t, err, "the job of the buried outcome ends")
	list, err := w.client.List(t.Context(), client.ListOptions{})
	require.NoError(t, err)
	require.Len(t, list.Jobs, 1)
	outcomes, err := w.client.Outcomes(t.Context(), job.ID)
	require.NoError(t, err)
	require.Len(t, outcomes, 1)
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	raw, err := proto.Marshal(m)
	require.NoError(t, err)
	return raw
}

// TestStrangersNeedAKey: an address that other machines reach is refused without keys, with the remedy.
func TestStrangersNeedAKey(t *testing.T) {
	t.Parallel()
	cfg, err := server.DefaultConfig()
	require.NoError(t, err)
	for addr, open := range map[string]bool{
		"127.0.0.1:8080": true, "127.8.8.8:1": true, "[::1]:8080": true, "localhost:0": true, "[::ffff:127.0.0.1]:1": true,
		":8080": false, "0.0.0.0:8080": false, "[::]:8080": false, "10.0.0.1:8080": false, "music.example:8080": false,
	} {
		cfg.HTTPAddr, cfg.Token, cfg.InsecureNoAuth = addr, "", false
		if open {
			require.NoError(t, cfg.Validate(), addr)
			continue
		}
		err := cfg.Validate()
		require.ErrorContains(t, err, "LARK_ADMIN_KEY", addr)
		require.ErrorContains(t, err, "insecure_no_auth", addr)
		cfg.InsecureNoAuth = true
		require.NoError(t, cfg.Validate(), addr)
		cfg.Token, cfg.InsecureNoAuth = "0123456789abcdef", false
		require.NoError(t, cfg.Validate(), addr)
		cfg.Token = "guess"
		require.ErrorContains(t, cfg.Validate(), "at least 16", addr)
		cfg.Token = config.Secret("lk_a_" + strings.Repeat("0", 64))
		require.ErrorContains(t, cfg.Validate(), "auth is none", "what lark sends is no secret of the gateway: "+addr)
		cfg.Token, cfg.Auth = "", "keys"
		require.NoError(t, cfg.Validate(), addr)
		cfg.Auth = ""
	}
	cfg.HTTPAddr, cfg.Token, cfg.AdminKey, cfg.Auth = "127.0.0.1:0", "", "lk_short", "none"
	err = cfg.Validate()
	require.ErrorContains(t, err, "lk_<id>_<secret>")
	require.ErrorContains(t, err, "set auth to keys, or unset the secret")
	cfg.AdminKey, cfg.Auth, cfg.AdminAddr = "", "oidc", ""
	err = cfg.Validate()
	for _, fault := range []string{"oidc.issuer", "oidc.audience", "admin_addr"} {
		require.ErrorContains(t, err, fault)
	}
}

// answers are the plan and the outcomes that the stages would publish.
func answers(t *testing.T, job *eventpb.Job, windows int) []event.Record {
	t.Helper()
	track := &eventpb.Track{Sha256: job.GetAudio().GetSha256(), DurationS: 25 * float64(windows)}
	plan := &eventpb.JobPlan{JobId: job.GetJobId(), Track: track, Questions: uint32(len(job.GetQuestions()))}
	for i := range windows {
		h := sha256.New()
		h.Write([]byte{byte(i)})
		plan.Windows = append(plan.Windows, &eventpb.Window{
			Index: uint32(i), Hash: event.HexSum(h), HeardS: 25, Span: &eventpb.Span{StartS: 25 * float64(i), EndS: 25 * float64(i+1)},
		})
	}
	out := []event.Record{encode(t, plan)}
	for _, win := range plan.GetWindows() {
		task := &eventpb.Task{JobId: job.GetJobId(), Track: track, Window: win, Questions: job.GetQuestions(), Cache: eventpb.Cache_CACHE_HIT}
		for _, q := range job.GetQuestions() {
			o := event.NewOutcome(task, q)
			o.State, o.Answer, o.Model = eventpb.State_STATE_ANSWERED, "an answer", "pretender"
			out = append(out, encode(t, o))
		}
	}
	return out
}

func encode(t *testing.T, m proto.Message) event.Record {
	t.Helper()
	rec, err := event.Encode("test", m)
	require.NoError(t, err)
	return rec
}

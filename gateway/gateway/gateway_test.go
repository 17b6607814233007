package gateway_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/gateway"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var quiet = slog.New(slog.DiscardHandler)

const patience = 30 * time.Second

// world is a gateway on an embedded broker, with a pretender for the stages.
type world struct {
	t      *testing.T
	kafka  kafka.Config
	cfg    gateway.Config
	client *client.Client
	url    string
	jobs   chan *eventpb.Job
	ctrl   chan *eventpb.Control
	prod   *kafka.Producer
	stop   func()
}

func setup(t *testing.T) *world {
	t.Helper()
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Log: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	w := &world{
		t: t, kafka: kafka.Config{Brokers: []string{broker.Addr()}},
		jobs: make(chan *eventpb.Job, 100), ctrl: make(chan *eventpb.Control, 100),
	}
	require.NoError(t, kafka.Provision(t.Context(), w.kafka, event.Topics()))
	w.prod, err = kafka.NewProducer(w.kafka, kafka.Deps{Log: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, w.prod.Close(context.Background())) })
	ctx, cancel := context.WithCancel(t.Context())
	_, wait := kafka.Tail(ctx, w.kafka, event.TopicJobs, kafka.Earliest, func(rec event.Record, _ int32, _ int64) {
		if job, err := event.DecodeAs[*eventpb.Job](rec); err == nil {
			w.jobs <- job
		}
	})
	_, waitCtrl := kafka.Tail(ctx, w.kafka, event.TopicControl, kafka.Earliest, func(rec event.Record, _ int32, _ int64) {
		if c, err := event.DecodeAs[*eventpb.Control](rec); err == nil {
			w.ctrl <- c
		}
	})
	t.Cleanup(func() {
		cancel()
		require.NoError(t, wait())
		require.NoError(t, waitCtrl())
	})
	w.cfg, err = gateway.DefaultConfig()
	require.NoError(t, err)
	dir := t.TempDir()
	w.cfg.HTTPAddr, w.cfg.KafkaBrokers, w.cfg.StateFile = "127.0.0.1:0", w.kafka.Brokers, filepath.Join(dir, "run", "gateway.json")
	w.cfg.BlobURL = config.Secret("file://" + filepath.Join(dir, "blobs"))
	w.cfg.DatabaseURL = config.Secret("sqlite://" + filepath.Join(dir, "db", "gateway.db"))
	w.cfg.ModelDir, w.cfg.LogLevel = filepath.Join(dir, "none"), "error"
	w.start()
	t.Cleanup(func() { w.stop() })
	return w
}

// start runs the gateway until stop is called, which waits for its end.
func (w *world) start() {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	done := make(chan error, 1)
	go func() { done <- gateway.Run(ctx, w.cfg) }()
	w.stop = sync.OnceFunc(func() {
		cancel()
		require.NoError(w.t, <-done)
		http.DefaultClient.CloseIdleConnections()
	})
	var state struct {
		HTTPAddr string `json:"http_addr"`
	}
	require.Eventually(w.t, func() bool {
		raw, err := os.ReadFile(w.cfg.StateFile)
		return err == nil && json.Unmarshal(raw, &state) == nil && w.ready("http://"+state.HTTPAddr)
	}, patience, 20*time.Millisecond, "the gateway becomes ready")
	w.url = "http://" + state.HTTPAddr
	var err error
	w.client, err = client.New(w.url, nil)
	require.NoError(w.t, err)
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

// published waits for the job's record on lark.jobs.v1.
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
	require.NotEmpty(t, job.TraceID)
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

// answers are the plan and the outcomes that the stages would publish.
func answers(t *testing.T, job *eventpb.Job, windows int) []event.Record {
	t.Helper()
	track := &eventpb.Track{Sha256: job.GetAudio().GetSha256(), DurationS: 25 * float64(windows)}
	plan := &eventpb.JobPlan{JobId: job.GetJobId(), Track: track, Questions: uint32(len(job.GetQuestions()))}
	for i := range windows {
		h := event.WindowHash()
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

package stagetest

import (
	"bufio"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/stage"
)

const (
	// patience bounds waits for signals that come at once in a healthy run.
	patience = 5 * time.Minute
	tick     = 5 * time.Millisecond
)

// Rig is a broker with all topics, an object store, and what has been written to the topics.
type Rig struct {
	Kafka   kafka.Config
	Blobs   *blob.Store
	BlobURL string

	producer *kafka.Producer
	mu       sync.Mutex
	records  map[string][]event.Record // by topic
}

// New starts a rig that ends with the test.
func New(t *testing.T) *Rig {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Log: log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	r := &Rig{
		Kafka: kafka.Config{Brokers: []string{broker.Addr()}}, BlobURL: "file://" + filepath.ToSlash(t.TempDir()),
		records: make(map[string][]event.Record),
	}
	require.NoError(t, kafka.Provision(t.Context(), r.Kafka, event.Topics()))
	r.Blobs, err = blob.Open(t.Context(), r.BlobURL)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.Blobs.Close()) })
	r.producer, err = kafka.NewProducer(r.Kafka, kafka.Deps{Log: log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, r.producer.Close(context.WithoutCancel(t.Context()))) })
	for _, topic := range event.Topics() {
		r.follow(t, topic.Name)
	}
	return r
}

func (r *Rig) follow(t *testing.T, topic string) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	_, wait := kafka.Tail(ctx, r.Kafka, topic, kafka.Earliest, func(rec event.Record, _ int32, _ int64) {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.records[topic] = append(r.records[topic], rec)
	})
	t.Cleanup(func() {
		cancel()
		require.NoError(t, wait())
	})
}

// Publish encodes messages and writes them to their topics.
func (r *Rig) Publish(t *testing.T, msgs ...proto.Message) {
	t.Helper()
	for _, msg := range msgs {
		rec, err := event.Encode("test", msg)
		require.NoError(t, err)
		r.PublishRecord(t, rec)
	}
}

// PublishRecord writes a record as it is.
func (r *Rig) PublishRecord(t *testing.T, rec event.Record) {
	t.Helper()
	require.NoError(t, r.producer.Publish(t.Context(), rec))
}

// Await waits for n records on a topic and returns all that are there.
func (r *Rig) Await(t *testing.T, topic string, n int) []event.Record {
	t.Helper()
	var got []event.Record
	require.Eventually(t, func() bool {
		got = r.Records(topic)
		return len(got) >= n
	}, patience, tick, "waiting for %d records on %s", n, topic)
	return got
}

// Records returns what has been read from a topic so far.
func (r *Rig) Records(topic string) []event.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]event.Record(nil), r.records[topic]...)
}

// Handle calls a handler as the runner does: with the record's message, or not at all if the record cannot be decoded.
func Handle(ctx context.Context, h stage.Handler, rec event.Record) ([]event.Record, error) {
	msg, err := event.Decode(rec)
	if err != nil {
		return nil, err
	}
	return h(ctx, rec, msg)
}

// Of decodes the records of one type.
func Of[T proto.Message](t *testing.T, recs []event.Record) []T {
	t.Helper()
	var out []T
	for _, rec := range recs {
		msg, err := event.Decode(rec)
		require.NoError(t, err)
		if typed, ok := msg.(T); ok {
			out = append(out, typed)
		}
	}
	return out
}

// Service is a service that runs in the test's process.
type Service struct {
	// URL of its health, readiness and metrics.
	URL  string
	stop func() error
}

// Start runs a service's command with the rig's addresses and the model bundle in modelDir, and waits until it is ready.
// Only one may run at a time in a process, since telemetry is global.
func (r *Rig) Start(t *testing.T, command func(ctx context.Context, args []string) error, modelDir string, args ...string) *Service {
	t.Helper()
	state := filepath.Join(t.TempDir(), "state.json")
	args = append([]string{
		"--kafka-brokers", r.Kafka.Brokers[0], "--blob-url", r.BlobURL, "--model-dir", modelDir, "--state-file", state,
		"--log-level", "error",
	}, args...)
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() { done <- command(ctx, args) }()
	s := &Service{stop: sync.OnceValue(func() error {
		cancel()
		return <-done
	})}
	t.Cleanup(func() { _ = s.stop() })
	require.Eventually(t, func() bool { return s.ready(state) }, patience, tick, "waiting for the service to be ready")
	return s
}

// Stop drains the service and returns what its command returned.
func (s *Service) Stop() error { return s.stop() }

func (s *Service) ready(state string) bool {
	raw, err := os.ReadFile(state)
	if err != nil {
		return false
	}
	var at struct {
		HTTPAddr string `json:"http_addr"`
	}
	if json.Unmarshal(raw, &at) != nil {
		return false
	}
	s.URL = "http://" + at.HTTPAddr
	resp, err := http.Get(s.URL + "/readyz") //nolint:noctx // on loopback, in a test
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// Metric returns the sum of a Prometheus metric over its labels.
func (s *Service) Metric(t *testing.T, name string) float64 {
	t.Helper()
	resp, err := http.Get(s.URL + "/metrics") //nolint:noctx // on loopback, in a test
	require.NoError(t, err)
	defer resp.Body.Close()
	sum := 0.0
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		line := lines.Text()
		at := strings.LastIndex(line, " ")
		if base, _, _ := strings.Cut(line[:max(at, 0)], "{"); base != name {
			continue
		}
		v, err := strconv.ParseFloat(line[at+1:], 64)
		require.NoError(t, err)
		sum += v
	}
	require.NoError(t, lines.Err())
	return sum
}

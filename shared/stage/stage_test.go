package stage_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// spans and metrics of all tests.
var (
	spans   = tracetest.NewInMemoryExporter()
	process *telemetry.Telemetry
)

func TestMain(m *testing.M) {
	tel, _, err := telemetry.Start(context.Background(), telemetry.Config{
		Service: "test", Spans: spans, LogOutput: io.Discard,
	})
	if err != nil {
		panic(err)
	}
	process = tel
	goleak.VerifyTestMain(m)
}

const (
	patience = 30 * time.Second // for signals that come at once in a healthy run
	tick     = 5 * time.Millisecond
)

var testDelays = []time.Duration{20 * time.Millisecond, 40 * time.Millisecond}

// cluster is a broker with the topics that the tests use, and what was written to the outputs.
type cluster struct {
	t      *testing.T
	config kafka.Config
	out    *kafka.Producer
	log    *slog.Logger

	mu       sync.Mutex
	answers  []event.Record
	dead     []event.Record
	outcomes map[string][]*eventpb.Outcome // outcome id -> as often as written
}

// partitionsByKey reads where the records of each key lie on the windows topic.
func (c *cluster) partitionsByKey() map[string]int32 {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	out := make(map[string]int32)
	caughtUp, wait := kafka.Tail(ctx, c.config, event.TopicWindows, kafka.Earliest,
		func(rec event.Record, partition int32, _ int64) { out[rec.Key] = partition })
	<-caughtUp
	cancel()
	require.NoError(c.t, wait())
	return out
}

func newCluster(t *testing.T, partitions int32) *cluster {
	t.Helper()
	b, err := kafka.StartBroker(kafka.BrokerConfig{Log: testLog()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return attach(t, b.Addr(), partitions)
}

func attach(t *testing.T, addr string, partitions int32) *cluster {
	t.Helper()
	c := &cluster{
		t: t, config: kafka.Config{Brokers: []string{addr}}, log: testLog(),
		outcomes: make(map[string][]*eventpb.Outcome),
	}
	var specs []event.TopicSpec
	for _, name := range []string{event.TopicWindows, event.TopicAnswers, event.TopicDead, event.TopicControl} {
		specs = append(specs, event.TopicSpec{Name: name, Partitions: partitions, Retention: time.Hour, Compacted: name == event.TopicControl})
	}
	require.NoError(t, kafka.Provision(t.Context(), c.config, specs))
	c.out = c.producer()
	c.follow(event.TopicAnswers, c.takeAnswer)
	c.follow(event.TopicDead, func(rec event.Record) { c.dead = append(c.dead, rec) })
	return c
}

func testLog() *slog.Logger {
	level := slog.LevelError + 4 // silent; LARK_TEST_LOG=1 shows all
	if os.Getenv("LARK_TEST_LOG") != "" {
		level = slog.LevelDebug
	}
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: level}))
}

func (c *cluster) producer() *kafka.Producer {
	p, err := kafka.NewProducer(c.config, kafka.Deps{Log: c.log})
	require.NoError(c.t, err)
	c.t.Cleanup(func() { _ = p.Close(context.Background()) })
	return p
}

func (c *cluster) follow(topic string, take func(event.Record)) {
	ctx, cancel := context.WithCancel(context.Background())
	_, wait := kafka.Tail(ctx, c.config, topic, kafka.Earliest, func(rec event.Record, _ int32, _ int64) {
		c.mu.Lock()
		defer c.mu.Unlock()
		take(rec)
	})
	c.t.Cleanup(func() {
		cancel()
		require.NoError(c.t, wait())
	})
}

func (c *cluster) takeAnswer(rec event.Record) {
	c.answers = append(c.answers, rec)
	if msg, err := event.DecodeAs[*eventpb.Outcome](rec); err == nil {
		c.outcomes[msg.GetOutcomeId()] = append(c.outcomes[msg.GetOutcomeId()], msg)
	}
}

func (c *cluster) publish(msgs ...proto.Message) {
	c.t.Helper()
	recs := make([]event.Record, len(msgs))
	for i, msg := range msgs {
		rec, err := event.Encode("test", msg)
		require.NoError(c.t, err)
		recs[i] = rec
	}
	require.NoError(c.t, c.out.Publish(c.t.Context(), recs...))
}

func (c *cluster) outcomesSeen() map[string][]*eventpb.Outcome {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.outcomes)
}

func (c *cluster) deadSeen() []event.Record {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]event.Record(nil), c.dead...)
}

// waitOutcomes waits for n different outcomes and returns them.
func (c *cluster) waitOutcomes(n int) map[string][]*eventpb.Outcome {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return len(c.outcomesSeen()) >= n }, patience, tick, "waiting for %d outcomes", n)
	return c.outcomesSeen()
}

func (c *cluster) waitDead(n int) []event.Record {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return len(c.deadSeen()) >= n }, patience, tick, "waiting for %d dead letters", n)
	return c.deadSeen()
}

// lag is the records of the group not committed yet, -1 while it cannot be told.
func (c *cluster) lag(group string) int64 {
	lags, err := kafka.Lag(context.Background(), c.config, group)
	if err != nil || len(lags) == 0 {
		return -1
	}
	var sum int64
	for _, n := range lags {
		sum += n
	}
	return sum
}

func (c *cluster) waitLag(group string, want int64) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return c.lag(group) == want }, patience, 20*time.Millisecond, "waiting for lag %d", want)
}

// running is a runner that has joined its group.
type running struct {
	runner *stage.Runner
	stop   context.CancelFunc
	ended  chan error
}

// start runs a stage named "test" with quick retries; change may adjust its configuration.
func (c *cluster) start(h stage.Handler, change ...func(*stage.Config, *stage.Deps)) *running {
	c.t.Helper()
	cfg := stage.Config{
		Stage: "test", Topics: []string{event.TopicWindows}, Backoff: time.Millisecond, Attempts: 2,
		RetryDelays: testDelays, DrainTimeout: 8 * time.Second,
	}
	deps := stage.Deps{Kafka: c.config, Handle: h, Producer: c.out, Log: c.log, Model: "test-model"}
	for _, f := range change {
		f(&cfg, &deps)
	}
	r, err := stage.New(cfg, deps)
	require.NoError(c.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	run := &running{runner: r, stop: cancel, ended: make(chan error, 1)}
	finished := make(chan struct{})
	go func() {
		defer close(finished)
		run.ended <- r.Run(ctx)
	}()
	c.t.Cleanup(func() {
		cancel()
		<-finished
	})
	require.Eventually(c.t, func() bool { return r.Ready() == nil }, patience, tick)
	return run
}

// drain stops the runner and returns what Run returned.
func (r *running) drain() error {
	r.stop()
	return <-r.ended
}

func hexOf(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// window is a record of one window with n questions; key names the window, so its partition.
func window(job, key string, index uint32, questions int) *eventpb.WindowReady {
	task := &eventpb.Task{
		JobId: job, Track: &eventpb.Track{Sha256: hexOf("track"), DurationS: 60},
		Window: &eventpb.Window{
			Index: index, Hash: hexOf(key), BlobKey: event.PCMKey(hexOf(key)),
			Span: &eventpb.Span{StartS: 0, EndS: 25}, HeardS: 25,
		},
		CreatedUnixMs: time.Now().UnixMilli(),
	}
	for q := range questions {
		task.Questions = append(task.Questions, &eventpb.Question{Index: uint32(q), Text: fmt.Sprintf("question %d?", q)})
	}
	return &eventpb.WindowReady{Task: task}
}

func taskOf(rec event.Record) *eventpb.Task {
	msg, err := event.DecodeAs[*eventpb.WindowReady](rec)
	if err != nil {
		return nil
	}
	return msg.GetTask()
}

// answer makes the answered outcomes of a window record.
func answer(rec event.Record) ([]event.Record, error) {
	msg, err := event.DecodeAs[*eventpb.WindowReady](rec)
	if err != nil {
		return nil, err
	}
	var out []event.Record
	for _, q := range msg.GetTask().GetQuestions() {
		o := event.NewOutcome(msg.GetTask(), q)
		o.State, o.Answer = eventpb.State_STATE_ANSWERED, "yes"
		r, err := event.Encode("test", o)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

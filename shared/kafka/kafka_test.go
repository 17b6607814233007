package kafka_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

const (
	patience = 30 * time.Second
	tick     = 5 * time.Millisecond
	topic    = "lark.test.v1"
)

// TestMain runs a broker instead of the tests when the test binary is started as one; see startChild.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDirEnv); dir != "" {
		runChild(dir)
		return
	}
	goleak.VerifyTestMain(m)
}

func silent() *slog.Logger { return slog.New(slog.DiscardHandler) }

func startBroker(t *testing.T, c kafka.BrokerConfig) *kafka.Broker {
	t.Helper()
	c.Log = silent()
	b, err := kafka.StartBroker(c)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}

// setup is a broker with one topic of four partitions, and a producer.
func setup(t *testing.T) (kafka.Config, *kafka.Producer) {
	t.Helper()
	b := startBroker(t, kafka.BrokerConfig{})
	cfg := kafka.Config{Brokers: []string{b.Addr()}}
	require.NoError(t, kafka.Provision(t.Context(), cfg, []event.TopicSpec{{Name: topic, Partitions: 4, Retention: time.Hour}}))
	return cfg, newProducer(t, cfg)
}

func newProducer(t *testing.T, cfg kafka.Config) *kafka.Producer {
	t.Helper()
	p, err := kafka.NewProducer(cfg, kafka.Deps{Log: silent()})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // a test that wants its records written has waited for them
		_ = p.Close(ctx)
	})
	return p
}

func records(n int) []event.Record {
	out := make([]event.Record, n)
	for i := range out {
		out[i] = event.Record{
			Topic: topic, Key: fmt.Sprint("key", i%7), Value: fmt.Append(nil, i),
			Headers: []event.Header{{Key: "n", Value: fmt.Append(nil, i)}},
		}
	}
	return out
}

// collector gathers what a Tail reads.
type collector struct {
	mu   sync.Mutex
	recs []event.Record
	at   map[[2]int64]bool
}

func (c *collector) take(rec event.Record, partition int32, offset int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == nil {
		c.at = make(map[[2]int64]bool)
	}
	c.at[[2]int64{int64(partition), offset}] = true
	c.recs = append(c.recs, rec)
}

func (c *collector) values() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := make(map[string]int)
	for _, r := range c.recs {
		out[string(r.Value)]++
	}
	return out
}

// tail follows the topic until the test ends.
func tail(t *testing.T, cfg kafka.Config, from kafka.TailFrom) (*collector, <-chan struct{}) {
	t.Helper()
	c := &collector{}
	ctx, cancel := context.WithCancel(context.Background())
	caughtUp, wait := kafka.Tail(ctx, cfg, topic, from, c.take)
	t.Cleanup(func() {
		cancel()
		require.NoError(t, wait())
	})
	return c, caughtUp
}

func TestPublishedRecordsComeBackWhole(t *testing.T) {
	t.Parallel()
	cfg, p := setup(t)
	sent := records(200)
	require.NoError(t, p.Publish(t.Context(), sent...))
	got, caughtUp := tail(t, cfg, kafka.Earliest)
	<-caughtUp
	require.Len(t, got.values(), 200)
	require.Len(t, got.at, 200, "each has its own partition and offset")
	last := map[string]string{}
	for _, rec := range got.recs {
		require.Equal(t, topic, rec.Topic)
		require.Equal(t, string(rec.Value), rec.Get("n"))
		require.False(t, rec.Time.IsZero())
		if before, ok := last[rec.Key]; ok {
			require.Less(t, len(before)*10000+atoi(t, before), len(rec.Get("n"))*10000+atoi(t, rec.Get("n")), "order of a key")
		}
		last[rec.Key] = rec.Get("n")
	}
}

func atoi(t *testing.T, s string) (n int) {
	t.Helper()
	_, err := fmt.Sscan(s, &n)
	require.NoError(t, err)
	return n
}

func TestPublishErrors(t *testing.T) {
	t.Parallel()
	_, p := setup(t)
	err := p.Publish(t.Context(), event.Record{Topic: topic, Value: make([]byte, 2<<20)})
	require.ErrorIs(t, err, kafka.ErrTooLarge)
	require.NoError(t, p.Publish(t.Context()), "nothing to publish")

	ctx, cancel := context.WithCancel(t.Context())
	away := newProducer(t, kafka.Config{Brokers: []string{"127.0.0.1:1"}})
	ended := make(chan error, 1)
	go func() { ended <- away.Publish(ctx, event.Record{Topic: topic}) }()
	cancel()
	require.ErrorIs(t, <-ended, context.Canceled, "a publish ends with its context although no broker answers")
}

func TestEmitIsBoundedAndNeverBlocks(t *testing.T) {
	t.Parallel()
	away := newProducer(t, kafka.Config{Brokers: []string{"127.0.0.1:1"}})
	const over = 100
	for range 4096 + over {
		away.Emit(t.Context(), event.Record{Topic: topic, Value: []byte("x")})
	}
	require.EqualValues(t, over, away.Dropped())

	cfg, p := setup(t)
	got, caughtUp := tail(t, cfg, kafka.Earliest)
	<-caughtUp
	p.Emit(t.Context(), event.Record{Topic: topic, Value: []byte("delta")})
	require.Eventually(t, func() bool { return got.values()["delta"] == 1 }, patience, tick)
	require.Zero(t, p.Dropped())
}

func TestTailLatestMissesNothingAfterCaughtUp(t *testing.T) {
	t.Parallel()
	cfg, p := setup(t)
	require.NoError(t, p.Publish(t.Context(), event.Record{Topic: topic, Value: []byte("before")}))
	got, caughtUp := tail(t, cfg, kafka.Latest)
	<-caughtUp
	sent := records(50)
	require.NoError(t, p.Publish(t.Context(), sent...))
	require.Eventually(t, func() bool { return len(got.values()) >= len(sent) }, patience, tick)
	require.NotContains(t, got.values(), "before")
}

func TestTailWaitsForTheTopicAndTheBroker(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first, err := kafka.StartBroker(kafka.BrokerConfig{Dir: dir, Log: silent()})
	require.NoError(t, err)
	addr := first.Addr()
	require.NoError(t, first.Close())
	cfg := kafka.Config{Brokers: []string{addr}}
	got, caughtUp := tail(t, cfg, kafka.Earliest)

	startBroker(t, kafka.BrokerConfig{Dir: dir, Addr: addr})
	require.NoError(t, kafka.Provision(t.Context(), cfg, []event.TopicSpec{{Name: topic, Partitions: 1, Retention: time.Hour}}))
	<-caughtUp
	require.NoError(t, newProducer(t, cfg).Publish(t.Context(), records(3)...))
	require.Eventually(t, func() bool { return len(got.values()) == 3 }, patience, tick)
}

func TestTailReportsAnUnusableConfiguration(t *testing.T) {
	t.Parallel()
	_, wait := kafka.Tail(t.Context(), kafka.Config{}, topic, kafka.Earliest, func(event.Record, int32, int64) {})
	require.ErrorIs(t, wait(), kafka.ErrNoBrokers)
}

func TestPing(t *testing.T) {
	t.Parallel()
	cfg, _ := setup(t)
	require.NoError(t, kafka.Ping(t.Context(), cfg))
	require.ErrorContains(t, kafka.Ping(t.Context(), kafka.Config{Brokers: []string{"127.0.0.1:1"}}),
		"reaching Kafka at 127.0.0.1:1", "the message names the address")
	require.ErrorIs(t, kafka.Ping(t.Context(), kafka.Config{}), kafka.ErrNoBrokers)
	require.ErrorContains(t, kafka.Ping(t.Context(), kafka.Config{Brokers: []string{"nowhere"}}), "nowhere")
}

func TestConstructorsRefuseMissingDependencies(t *testing.T) {
	t.Parallel()
	_, err := kafka.NewProducer(kafka.Config{Brokers: []string{"127.0.0.1:1"}}, kafka.Deps{})
	require.ErrorContains(t, err, "no logger")
	_, err = kafka.StartBroker(kafka.BrokerConfig{})
	require.ErrorContains(t, err, "no logger")
}

var _ io.Closer = (*kafka.Broker)(nil)

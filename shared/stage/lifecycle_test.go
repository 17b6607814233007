package stage_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kmsg"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/stage"
)

func TestDrainFinishesWhatIsInHand(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	begun, gate := make(chan uint32, 10), make(chan struct{})
	run := c.start(func(ctx context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		begun <- taskOf(rec).GetWindow().GetIndex()
		select {
		case <-gate:
			return answer(rec)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, func(cfg *stage.Config, _ *stage.Deps) { cfg.Concurrency = 1 })
	for i := range 3 {
		c.publish(window("job", "key", uint32(i), 1))
	}
	require.Zero(t, <-begun)
	run.stop()
	require.Eventually(t, func() bool { return run.runner.Ready() != nil }, patience, tick, "not ready while draining")
	close(gate)
	require.NoError(t, <-run.ended)
	require.Empty(t, begun, "the drain began new work")
	c.waitOutcomes(1)
	require.Len(t, c.outcomesSeen(), 1)
	require.EqualValues(t, 2, c.lag("lark.test"), "the finished record is committed, the others are not")
}

func TestDrainIsBoundedByItsTimeout(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	begun := make(chan struct{})
	causes := make(chan error, 1)
	run := c.start(func(ctx context.Context, _ event.Record, _ proto.Message) ([]event.Record, error) {
		close(begun)
		<-ctx.Done()
		causes <- context.Cause(ctx)
		return nil, ctx.Err()
	}, func(cfg *stage.Config, _ *stage.Deps) { cfg.DrainTimeout = 300 * time.Millisecond })
	c.publish(window("job", "key", 0, 1))
	<-begun
	require.ErrorContains(t, run.drain(), "still running")
	require.ErrorIs(t, <-causes, stage.ErrStopping)
	require.Empty(t, c.outcomesSeen(), "abandoned work has no outcome")
	require.Empty(t, c.deadSeen())
}

// A second instance joins while the first is busy: what it takes over is finished and committed by
// the first before, so that nothing is lost and nothing is done twice.
func TestRebalanceHandsOverFinishedWork(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 8)
	const records = 40
	gate := make(chan struct{})
	var calls sync.Map
	handler := func(ctx context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		n, _ := calls.LoadOrStore(rec.Key, new(atomic.Int32))
		n.(*atomic.Int32).Add(1)
		select {
		case <-gate:
			return answer(rec)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	// All records run at once: one that had not begun when its partition was revoked would, rightly,
	// hold back the commit of those after it.
	wide := func(cfg *stage.Config, _ *stage.Deps) { cfg.Concurrency = 2 * records }
	first := c.start(handler, wide)
	for i := range records {
		c.publish(window("job", fmt.Sprint("key", i), uint32(i), 1))
	}
	require.Eventually(t, func() bool { return countKeys(&calls) == records }, patience, tick)
	// The second joins with nothing yet; the first then gives up half and waits for what it has in hand.
	second := c.start(handler, wide)
	close(gate)
	c.waitOutcomes(records)
	c.waitLag("lark.test", 0)
	require.NoError(t, first.drain())
	require.NoError(t, second.drain())
	for id, os := range c.outcomesSeen() {
		require.Len(t, os, 1, "outcome %s written twice although the hand-over was orderly", id)
	}
	calls.Range(func(key, n any) bool {
		require.EqualValues(t, 1, n.(*atomic.Int32).Load(), "work on %s was begun twice", key)
		return true
	})
}

func countKeys(m *sync.Map) (n int) {
	m.Range(func(any, any) bool { n++; return true })
	return n
}

// A handler that outlasts the wait at a rebalance is stopped and commits nothing; the new owner does
// the record again.
func TestRevokedWorkIsAbandonedAndDoneAgain(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 8)
	const records = 24
	var stopped atomic.Int32
	stuck := c.start(func(ctx context.Context, _ event.Record, _ proto.Message) ([]event.Record, error) {
		<-ctx.Done()
		if errors.Is(context.Cause(ctx), stage.ErrRevoked) {
			stopped.Add(1)
		}
		return nil, ctx.Err()
	}, func(cfg *stage.Config, _ *stage.Deps) { cfg.Concurrency, cfg.DrainTimeout = 32, 200*time.Millisecond })
	for i := range records {
		c.publish(window("job", fmt.Sprint("key", i), uint32(i), 1))
	}
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) { return answer(rec) })
	require.Eventually(t, func() bool { return stopped.Load() > 0 && len(c.outcomesSeen()) > 0 }, patience, tick)
	require.Error(t, stuck.drain())
	for _, os := range c.waitOutcomes(records) {
		require.Len(t, os, 1, "the stuck instance wrote nothing, so each outcome is written once")
	}
	c.waitLag("lark.test", 0)
}

// While publishing fails, nothing is committed and the stage keeps trying.
func TestPublishFailureHoldsTheCommit(t *testing.T) {
	t.Parallel()
	var broken atomic.Bool
	refused := make(chan struct{}, 100)
	c := newFaultyCluster(t, 1, func(req kmsg.Request) kmsg.Response {
		produce, ok := req.(*kmsg.ProduceRequest)
		if !ok || !broken.Load() {
			return nil
		}
		refused <- struct{}{}
		return refuseProduce(produce)
	})
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		broken.Store(true)
		return answer(rec)
	})
	c.publish(window("job", "key", 0, 1))
	for range 3 {
		<-refused
	}
	require.NotZero(t, c.lag("lark.test"), "committed although nothing was published")
	require.Empty(t, c.outcomesSeen())
	broken.Store(false)
	c.waitOutcomes(1)
	c.waitLag("lark.test", 0)
}

// The broker goes away in the middle and comes back on the same folder and address.
func TestBrokerRestartLosesNothing(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Dir: dir, Log: testLog()})
	require.NoError(t, err)
	addr := broker.Addr()
	c := attach(t, addr, 4)
	const records = 40
	var handled atomic.Int32
	half := make(chan struct{})
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		if handled.Add(1) == records/2 {
			close(half)
		}
		return answer(rec)
	})
	for i := range records {
		c.publish(window("job", fmt.Sprint("key", i), uint32(i), 2))
	}
	<-half
	require.NoError(t, broker.Close())
	require.Eventually(t, func() bool {
		broker, err = kafka.StartBroker(kafka.BrokerConfig{Dir: dir, Addr: addr, Log: testLog()})
		return err == nil
	}, patience, tick)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })

	for i := range records {
		c.publish(window("again", fmt.Sprint("key", i), uint32(i), 1))
	}
	for _, os := range c.waitOutcomes(records * 3) {
		require.Equal(t, eventpb.State_STATE_ANSWERED, os[0].GetState())
	}
	c.waitLag("lark.test", 0)
}

func TestRunnerRunsOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	run := c.start(func(context.Context, event.Record, proto.Message) ([]event.Record, error) { return nil, nil })
	require.ErrorContains(t, run.runner.Run(t.Context()), "runs once")
}

func TestRunEndsWhenTheBrokerWasNeverThere(t *testing.T) {
	t.Parallel()
	cfg := kafka.Config{Brokers: []string{"127.0.0.1:1"}}
	out, err := kafka.NewProducer(cfg, kafka.Deps{Log: testLog()})
	require.NoError(t, err)
	defer func() { require.NoError(t, out.Close(t.Context())) }()
	r, err := stage.New(stage.Config{Stage: "test", Topics: []string{"a"}}, stage.Deps{
		Kafka: cfg, Producer: out, Log: testLog(),
		Handle: func(context.Context, event.Record, proto.Message) ([]event.Record, error) { return nil, nil },
	})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	require.Error(t, r.Ready())
	cancel()
	require.NoError(t, <-ended)
}

func TestNewReportsEveryFault(t *testing.T) {
	t.Parallel()
	_, err := stage.New(stage.Config{Concurrency: -1, RetryDelays: []time.Duration{2, 1}}, stage.Deps{})
	for _, want := range []string{
		"stage: no name", "topics: none", "concurrency", "retry_delays", "no handler", "no producer", "no logger", "no Kafka brokers",
	} {
		require.ErrorContains(t, err, want)
	}
}

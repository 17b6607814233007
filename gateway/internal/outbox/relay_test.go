package outbox_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/gateway/internal/outbox"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/storetest"
	"github.com/larkstream/larkstream/shared/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// broker stands for Kafka at the edge: it takes records, or fails at a chosen moment.
type broker struct {
	mu    sync.Mutex
	got   []string
	calls int
	// fail, given the number of the call, returns the error before and after the records are taken.
	fail  func(call int) (before, after error)
	taken chan string
}

func newBroker() *broker { return &broker{taken: make(chan string, 1000)} }

func (b *broker) Publish(_ context.Context, recs ...event.Record) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.calls++
	var before, after error
	if b.fail != nil {
		before, after = b.fail(b.calls)
	}
	if before != nil {
		return before
	}
	for _, r := range recs {
		b.got = append(b.got, r.Key)
		b.taken <- r.Key
	}
	return after
}

// table is an outbox in memory; the removal can be made to fail, as when the process dies.
type table struct {
	mu       sync.Mutex
	rows     []store.Outgoing
	failSent int
	reads    int
}

func (s *table) add(keys ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range keys {
		s.rows = append(s.rows, store.Outgoing{ID: k, Record: event.Record{Key: k}})
	}
}

func (s *table) Relay(_ context.Context, limit int, publish func([]store.Outgoing) error) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	pending := slices.Clone(s.rows[:min(limit, len(s.rows))])
	if len(pending) == 0 {
		return 0, nil
	}
	if err := publish(pending); err != nil {
		return 0, err
	}
	if s.failSent > 0 {
		s.failSent--
		return 0, errors.New("disk full")
	}
	s.rows = s.rows[len(pending):]
	return len(pending), nil
}

func start(t *testing.T, cfg outbox.Config, s outbox.Store, p outbox.Publisher) (*outbox.Relay, func()) {
	t.Helper()
	r, err := outbox.New(cfg, outbox.Deps{Store: s, Publisher: p, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	return r, func() {
		cancel()
		require.NoError(t, <-done)
	}
}

func take(t *testing.T, b *broker, n int) []string {
	t.Helper()
	var out []string
	for range n {
		out = append(out, <-b.taken)
	}
	return out
}

func keys(n int) []string {
	var out []string
	for i := range n {
		out = append(out, fmt.Sprintf("r%03d", i))
	}
	return out
}

func TestPublishesInOrder(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, b := &table{}, newBroker()
		s.add(keys(25)...)
		r, stop := start(t, outbox.Config{Batch: 10}, s, b)
		defer stop()
		require.Equal(t, keys(25), take(t, b, 25), "what was there before the start")
		synctest.Wait()
		s.add("late")
		r.Wake()
		r.Wake()
		require.Equal(t, []string{"late"}, take(t, b, 1))
		synctest.Wait()
		require.Empty(t, s.rows)
		require.LessOrEqual(t, s.reads, 5, "no polling")
	})
}

// TestBrokerDown: nothing is lost while the broker is away, and nothing is published out of order.
func TestBrokerDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, b := &table{}, newBroker()
		b.fail = func(call int) (error, error) {
			if call <= 20 {
				return errors.New("no broker"), nil
			}
			return nil, nil
		}
		s.add(keys(3)...)
		began := time.Now()
		_, stop := start(t, outbox.Config{}, s, b)
		defer stop()
		require.Equal(t, keys(3), take(t, b, 3))
		require.Greater(t, time.Since(began), 30*time.Second, "20 attempts with a growing wait, in the bubble's time")
	})
}

// TestCrashBetweenAckAndDelete: the record is published again, which downstream ids make harmless.
func TestCrashBetweenAckAndDelete(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, b := &table{failSent: 1}, newBroker()
		s.add("a", "b")
		_, stop := start(t, outbox.Config{}, s, b)
		require.Equal(t, []string{"a", "b", "a", "b"}, take(t, b, 4))
		stop()
		require.Empty(t, s.rows)
	})
}

// TestAckLost: the broker has the records but says that it has not.
func TestAckLost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, b := &table{}, newBroker()
		b.fail = func(call int) (error, error) {
			if call == 1 {
				return nil, errors.New("connection reset")
			}
			return nil, nil
		}
		s.add("a")
		_, stop := start(t, outbox.Config{}, s, b)
		require.Equal(t, []string{"a", "a"}, take(t, b, 2))
		stop()
		require.Empty(t, s.rows)
	})
}

// TestAnotherProcessLeftRecords: what a gateway that died has left is found without a signal.
func TestAnotherProcessLeftRecords(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, b := &table{}, newBroker()
		_, stop := start(t, outbox.Config{Idle: time.Minute}, s, b)
		defer stop()
		synctest.Wait()
		s.add("orphan")
		require.Equal(t, []string{"orphan"}, take(t, b, 1))
	})
}

// TestOnSQL runs the relay on the real table.
func TestOnSQL(t *testing.T) {
	t.Parallel()
	s, err := store.Open(t.Context(), storetest.URL(t))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	b := newBroker()
	r, stop := start(t, outbox.Config{Batch: 7}, s, b)
	for _, k := range keys(40) {
		job := store.NewJob(event.TenantDefault, event.JobSpec{ID: k, Questions: []string{"q"}, Created: time.Now()}, "")
		require.NoError(t, s.Create(t.Context(), job, []event.Record{{Topic: "jobs", Key: k}}, store.CreateOptions{}))
		r.Wake()
	}
	require.Equal(t, keys(40), take(t, b, 40))
	stop()
	n, _, err := s.OutboxDepth(t.Context())
	require.NoError(t, err)
	require.Zero(t, n)
}

func TestNewRefusesMissingDeps(t *testing.T) {
	t.Parallel()
	_, err := outbox.New(outbox.Config{}, outbox.Deps{})
	require.Error(t, err)
}

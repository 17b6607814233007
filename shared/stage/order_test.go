package stage_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
)

func TestRecordsOfOneKeyAreHandledInOrder(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4)
	const keys, perKey = 12, 25
	var (
		mu   sync.Mutex
		seen = map[string][]uint32{}
		busy sync.Map
	)
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		if _, taken := busy.LoadOrStore(rec.Key, true); taken {
			return nil, stage.Permanent(event.CodeInternal, fmt.Errorf("two records of key %s at once", rec.Key))
		}
		defer busy.Delete(rec.Key)
		for range 20 {
			runtime.Gosched()
		}
		mu.Lock()
		seen[rec.Key] = append(seen[rec.Key], taskOf(rec).GetWindow().GetIndex())
		mu.Unlock()
		return answer(rec)
	}, func(cfg *stage.Config, _ *stage.Deps) { cfg.Concurrency = 8 })

	for i := range perKey {
		for k := range keys {
			c.publish(window(fmt.Sprintf("job-%d", k), fmt.Sprint("key", k), uint32(i), 1))
		}
	}
	outcomes := c.waitOutcomes(keys * perKey)
	for _, os := range outcomes {
		require.Equal(t, eventpb.State_STATE_ANSWERED, os[0].GetState(), os[0].GetError().GetMessage())
	}
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, seen, keys)
	for key, order := range seen {
		require.Truef(t, slices.IsSorted(order), "key %s: %v", key, order)
	}
}

func TestDifferentKeysRunInParallel(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	const n = 4
	var arrived atomic.Int32
	together := make(chan struct{})
	c.start(func(ctx context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		if arrived.Add(1) == n {
			close(together)
		}
		select {
		case <-together:
			return answer(rec)
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}, func(cfg *stage.Config, _ *stage.Deps) { cfg.Concurrency = n })
	for i := range n {
		c.publish(window("job", fmt.Sprint("key", i), uint32(i), 1))
	}
	c.waitOutcomes(n)
}

func TestInFlightBytesAreBounded(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4)
	const records, cost, bound = 60, 100, 3
	var held, most atomic.Int64
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		now := held.Add(1)
		for {
			was := most.Load()
			if now <= was || most.CompareAndSwap(was, now) {
				break
			}
		}
		for range 50 {
			runtime.Gosched()
		}
		held.Add(-1)
		return answer(rec)
	}, func(cfg *stage.Config, d *stage.Deps) {
		cfg.Concurrency, cfg.MaxInFlightBytes = 16, cost*bound
		d.Cost = func(event.Record) int64 { return cost }
	})
	for i := range records {
		c.publish(window("job", fmt.Sprint("key", i), uint32(i), 1))
	}
	c.waitOutcomes(records)
	require.LessOrEqual(t, most.Load(), int64(bound))
}

func TestRecordLargerThanTheByteBoundRunsAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	var held atomic.Int64
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		defer held.Add(-1)
		if held.Add(1) > 1 {
			return nil, stage.Permanent(event.CodeInternal, errors.New("not alone"))
		}
		return answer(rec)
	}, func(cfg *stage.Config, d *stage.Deps) {
		cfg.MaxInFlightBytes = 10
		d.Cost = func(event.Record) int64 { return 1 << 40 }
	})
	for i := range 5 {
		c.publish(window("job", fmt.Sprint("key", i), uint32(i), 1))
	}
	for _, os := range c.waitOutcomes(5) {
		require.Equal(t, eventpb.State_STATE_ANSWERED, os[0].GetState())
	}
}

// One hot key must not keep the records of other partitions waiting.
func TestHotKeyDoesNotStarveOtherPartitions(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 8)
	gate := make(chan struct{})
	c.start(func(ctx context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		if rec.Key == hexOf("hot") {
			select {
			case <-gate:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		return answer(rec)
	}, func(cfg *stage.Config, _ *stage.Deps) { cfg.MaxInFlightRecords = 8 })
	const hot, cold = 300, 40
	for i := range hot {
		c.publish(window("hot", "hot", uint32(i), 1))
	}
	for i := range cold {
		c.publish(window("cold", fmt.Sprint("cold", i), uint32(i), 1))
	}
	// Those that share the hot key's partition wait for it; all others must come through.
	others, partitions := 0, c.partitionsByKey()
	for i := range cold {
		if partitions[hexOf(fmt.Sprint("cold", i))] != partitions[hexOf("hot")] {
			others++
		}
	}
	require.Positive(t, others)
	c.waitOutcomes(others)
	close(gate)
	c.waitOutcomes(hot + cold)
}

// Commits never pass a record that is not finished, whatever comes after it.
func TestOnlyTheFinishedPrefixIsCommitted(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	var calls atomic.Int32
	stuck := make(chan struct{}, 1)
	first := c.start(func(ctx context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		calls.Add(1)
		if taskOf(rec).GetWindow().GetIndex() == 2 {
			stuck <- struct{}{}
			<-ctx.Done()
			return nil, ctx.Err()
		}
		return answer(rec)
	}, func(cfg *stage.Config, _ *stage.Deps) { cfg.DrainTimeout = 400 * time.Millisecond })
	for i := range 6 {
		c.publish(window("job", fmt.Sprint("key", i), uint32(i), 1))
	}
	<-stuck
	c.waitOutcomes(5)
	require.Error(t, first.drain(), "a handler had to be stopped")
	require.EqualValues(t, 4, c.lag("lark.test"), "records 2 to 5 are not committed")

	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) { return answer(rec) })
	c.waitOutcomes(6)
	c.waitLag("lark.test", 0)
}

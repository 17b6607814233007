package stage

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// admission is an admitter whose tasks run until they are let go, and what it has begun.
type admission struct {
	*admitter
	work sync.WaitGroup
	mu   sync.Mutex
	gate map[*task]chan struct{}
	runs []string // keys, as begun
}

func newAdmission(records int, bytes int64, control *Control) *admission {
	a := &admission{gate: make(map[*task]chan struct{})}
	c := Config{Stage: "test", MaxInFlightRecords: records, MaxInFlightBytes: bytes}.withDefaults()
	a.admitter = newAdmitter(c, control, telemetry.NewStageMetrics(), &a.work, func(t *task) {
		a.mu.Lock()
		a.runs = append(a.runs, t.meta.rec.Key)
		gate := a.gate[t]
		a.mu.Unlock()
		<-gate
	})
	return a
}

func (a *admission) partition(id int32) *partition {
	return newPartition(topicPartition{"t", id}, &consumerStub{}, a.places(), newGuard(nil, "g", topicPartition{}, slog.New(slog.DiscardHandler)))
}

func (a *admission) task(p *partition, key string, cost int64) *task {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := &task{part: p, rec: &kgo.Record{Topic: p.topic, Partition: p.id, Offset: int64(len(a.gate))}, cost: cost, meta: meta{rec: event.Record{Key: key}}}
	a.gate[t] = make(chan struct{})
	return t
}

// offer admits in the background; the channel gets the answer.
func (a *admission) offer(t *task) <-chan bool {
	answer := make(chan bool, 1)
	go func() { answer <- a.admit(t) }()
	synctest.Wait()
	return answer
}

func (a *admission) letGo(t *task) {
	close(a.gate[t])
	synctest.Wait()
}

func (a *admission) begun() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return append([]string(nil), a.runs...)
}

func TestAdmitterBoundsRecordsAndThePlacesOfAPartition(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(2, 1<<20, nil)
		first, second := a.partition(0), a.partition(1)
		tasks := []*task{a.task(first, "a", 1), a.task(first, "b", 1), a.task(second, "c", 1), a.task(second, "d", 1)}
		for _, task := range tasks {
			require.True(t, <-a.offer(task))
		}
		require.ElementsMatch(t, []string{"a", "b"}, a.begun(), "the others are queued: two are in flight")
		for i := range queueRecords - 2 {
			tasks = append(tasks, a.task(first, fmt.Sprint("more ", i), 1))
			require.True(t, <-a.offer(tasks[len(tasks)-1]))
		}
		extra := a.task(first, "extra", 1)
		answer := a.offer(extra)
		require.Empty(t, answer, "the partition has no place more")
		a.letGo(tasks[0])
		require.True(t, <-answer)
		require.Equal(t, "c", a.begun()[2], "it came before the extra one")
		for _, task := range append(tasks[1:], extra) {
			a.letGo(task)
		}
		a.work.Wait()
	})
}

// Large records of one partition are not taken up by the hundred: each of them holds its bytes, and as many again once it is decoded.
func TestThePlacesOfAPartitionAreBytesToo(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(100, 1<<20, nil)
		p := a.partition(0)
		tasks := []*task{a.task(p, "a", 1), a.task(p, "b", 1), a.task(p, "c", 1)}
		for i, bytes := range []int{queueBytes - 20<<10, 10, 2 * queueBytes} {
			tasks[i].rec.Value = make([]byte, bytes)
		}
		require.True(t, <-a.offer(tasks[0]))
		require.True(t, <-a.offer(tasks[1]), "there is room for a small one")
		answer := a.offer(tasks[2])
		require.Empty(t, answer)
		a.letGo(tasks[0])
		require.Empty(t, answer, "what is larger than the bound waits until it is alone")
		a.letGo(tasks[1])
		require.True(t, <-answer)
		a.letGo(tasks[2])
		a.work.Wait()
	})
}

func TestAdmitterBoundsBytesAndLetsAnOversizedRecordRunAlone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(100, 10, nil)
		p := a.partition(0)
		small, big, after := a.task(p, "small", 1), a.task(p, "big", 1<<40), a.task(p, "after", 0)
		for _, task := range []*task{small, big, after} {
			require.True(t, <-a.offer(task))
		}
		require.Equal(t, []string{"small"}, a.begun())
		a.letGo(small)
		require.Equal(t, []string{"small", "big"}, a.begun(), "a record that costs nothing counts as one byte")
		a.letGo(big)
		require.Equal(t, []string{"small", "big", "after"}, a.begun())
		a.letGo(after)
		a.work.Wait()
	})
}

// A question about a track must not wait behind the catalogue's windows of the same track, nor for their memory.
func TestAnInteractiveRecordDoesNotWaitBehindBulkRecordsOfItsKey(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(16, 16, nil)
		catalogue := newPartition(topicPartition{"t.bulk.v1", 0}, &consumerStub{}, a.places(), &guard{})
		require.Equal(t, event.LaneBulk, catalogue.lane)
		var queued []*task
		for i := range 16 {
			queued = append(queued, a.task(catalogue, fmt.Sprint("window ", i%14), 1))
			queued[i].meta.tenant = fmt.Sprint("tenant-", i%2) // one alone would leave some of bulk's room to others
			require.True(t, <-a.offer(queued[i]))
		}
		before := len(a.begun())
		require.Equal(t, 14, before, "an eighth of the room is not for bulk")
		asked := a.task(a.partition(0), "window 0", 2)
		require.True(t, <-a.offer(asked))
		require.Len(t, a.begun(), before+1, "it is begun at once")
		a.letGo(asked)
		for _, task := range queued {
			a.letGo(task)
		}
		a.work.Wait()
	})
}

// The records of one hot window must not hold the memory that other windows need, before it is their turn.
func TestAHotKeyHoldsTheRoomOfOneRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(8, 2, nil)
		hot, cold := a.partition(0), a.partition(1)
		var queued []*task
		for range 8 {
			task := a.task(hot, "hot", 1)
			queued = append(queued, task)
			require.True(t, <-a.offer(task))
		}
		for i := range 3 {
			task := a.task(cold, fmt.Sprint("cold", i), 1)
			require.True(t, <-a.offer(task))
			require.Equal(t, fmt.Sprint("cold", i), a.begun()[i+1])
			a.letGo(task)
		}
		for _, task := range queued {
			a.letGo(task)
		}
		a.work.Wait()
	})
}

func TestAnUnorderedStageRunsRecordsOfOneKeyTogether(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(8, 8, nil)
		a.unordered = true
		p := a.partition(0)
		tasks := []*task{a.task(p, "key", 1), a.task(p, "key", 1)}
		for _, task := range tasks {
			require.True(t, <-a.offer(task))
		}
		require.Equal(t, []string{"key", "key"}, a.begun())
		for _, task := range tasks {
			a.letGo(task)
		}
		a.work.Wait()
	})
}

// A partition that stops while it waits for one bound gives back what it took of the others.
func TestAdmitterGivesBackWhatAStoppedPartitionTook(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(2, 10, nil)
		running, stopping, other := a.partition(0), a.partition(1), a.partition(2)
		held := a.task(running, "held", 10)
		require.True(t, <-a.offer(held))
		require.True(t, <-a.offer(a.task(stopping, "waiting", 1)))
		stopping.stopNow()
		synctest.Wait()
		a.letGo(held)
		next, last := a.task(other, "next", 9), a.task(running, "last", 1)
		require.True(t, <-a.offer(next))
		require.True(t, <-a.offer(last), "both records and all bytes are free again")
		a.letGo(next)
		a.letGo(last)
		a.work.Wait()
	})
}

func TestAdmitterHoldsARecordUntilItIsDue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		control := &Control{cancelled: map[jobSum]struct{}{}, watchers: map[string]map[*context.CancelCauseFunc]struct{}{}}
		a := newAdmission(10, 10, control)
		p := a.partition(0)
		due := func(key string) *task {
			task := a.task(p, key, 1)
			close(a.gate[task])
			task.meta.due, task.meta.job = time.Now().Add(time.Hour), key
			return task
		}
		begun := time.Now()
		require.True(t, a.admit(due("due")))
		require.Equal(t, time.Hour, time.Since(begun))

		expiring := due("expiring")
		expiring.meta.deadline = time.Now().Add(time.Minute)
		begun = time.Now()
		require.True(t, a.admit(expiring))
		require.Equal(t, time.Minute, time.Since(begun), "the job's deadline ends the wait")

		begun = time.Now()
		answer := a.offer(due("cancelled"))
		control.cancel("cancelled")
		require.True(t, <-answer)
		require.Zero(t, time.Since(begun), "a cancel ends the wait")

		answer = a.offer(due("stopped"))
		p.stopNow()
		require.False(t, <-answer)
		a.work.Wait()
	})
}

func TestKeyQueuesKeepTheOrderOfAKeyOnly(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		a := newAdmission(100, 100, nil)
		p := a.partition(0)
		first, second, other := a.task(p, "key", 1), a.task(p, "key", 1), a.task(p, "other", 1)
		for _, task := range []*task{first, second, other} {
			require.True(t, <-a.offer(task))
		}
		require.ElementsMatch(t, []string{"key", "other"}, a.begun(), "the second of the key waits for the first")
		a.letGo(first)
		require.Equal(t, "key", a.begun()[2])
		a.letGo(second)
		a.letGo(other)

		keyless := []*task{a.task(p, "", 1), a.task(p, "", 1)}
		for _, task := range keyless {
			require.True(t, <-a.offer(task))
		}
		require.Len(t, a.begun(), 5, "records without a key have no order")
		for _, task := range keyless {
			a.letGo(task)
		}
		a.work.Wait()
		require.Empty(t, a.keys.queues, "a key is forgotten with its last task")
	})
}

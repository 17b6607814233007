package stage

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// admitter decides when a record may be worked on: once it is due, after the earlier records of its key, and once the records
// and bytes in flight leave room for it. It is the only way from a partition to the processor.
//
// The room is taken last, by the record that is next of its key. So a key with many records holds the room of one record, and
// the records that wait behind it hold only a place in the queue of their partition. Bulk records leave room to interactive ones.
type admitter struct {
	stage   string
	metrics *telemetry.StageMetrics
	control *Control // may be nil
	process func(*task)

	maxBytes, bulkBytes, queueRecords int64
	records, bytes                    *gate
	unordered                         bool
	keys                              keyQueues
	work                              *sync.WaitGroup

	moved atomic.Int64 // how often a record was begun or left, see watchAhead
}

// newAdmitter makes an admitter that hands admitted tasks to process, each on a goroutine that work counts.
func newAdmitter(c Config, control *Control, metrics *telemetry.StageMetrics, work *sync.WaitGroup, process func(*task)) *admitter {
	a := &admitter{
		stage: c.Stage, metrics: metrics, control: control, process: process,
		maxBytes: c.MaxInFlightBytes, bulkBytes: c.MaxInFlightBytes - c.ReservedBytes, queueRecords: int64(c.QueueRecords),
		records: newGate(int64(c.MaxInFlightRecords), c.bulkRecords(), c.BulkTurn).perTenant(c.leaving(c.MaxInFlightRecords), c.leaving(int(c.bulkRecords()))), unordered: c.Unordered, work: work,
	}
	a.bytes = newGate(a.maxBytes, a.bulkBytes, c.BulkTurn)
	a.keys = keyQueues{queues: make(map[ownKey][]*task), work: work, run: a.run}
	return a
}

// queueBytes is how much of one partition may be queued or in flight, in bytes on the wire; decoded it is about twice that. A stage has dozens of
// partitions, and a catalogue lies in all of a topic's.
const queueBytes = 1 << 20

// queueRecords is the least default of Config.QueueRecords. Tenants take turns among these: with eight partitions they are twice what a gateway lets into
// Kafka at once in a lane, for no partition has just an eighth of it.
const queueRecords = 256

// places is the room for the records of one partition that are queued or in flight: queueBytes, and so many records at most.
func (a *admitter) places() *semaphore.Weighted { return semaphore.NewWeighted(queueBytes) }

// share is the part of its partition's places that a record takes.
func (a *admitter) share(t *task) int64 {
	return min(queueBytes, max(queueBytes/a.queueRecords, int64(recordBytes(t.rec)), 1))
}

// admit waits until the task is due and has a place, and queues it; false when its partition stops first. It blocks the
// partition's later records meanwhile: on a retry topic they are due later anyway.
func (a *admitter) admit(t *task) bool {
	t.cost = min(max(t.cost, 1), a.maxBytes) // what costs more than the bound runs alone
	if t.part.lane == event.LaneBulk {
		t.cost = min(t.cost, a.bulkBytes)
	}
	if !a.waitDue(t) || t.part.places.Acquire(t.part.stop, a.share(t)) != nil {
		return false
	}
	if a.unordered || t.meta.rec.Key == "" {
		a.work.Go(func() { a.run(t) })
		return true
	}
	a.keys.add(t)
	return true
}

// run has the task processed once there is room, and gives place and room back.
func (a *admitter) run(t *task) {
	defer t.part.places.Release(a.share(t))
	if a.acquire(t) {
		defer a.release(t)
		a.process(t)
	}
}

// waitDue holds a record of a retry topic until it is due, or until its job ends before that; false when the partition
// stops.
func (a *admitter) waitDue(t *task) bool {
	due := t.meta.due
	if d := t.meta.deadline; !d.IsZero() && d.Before(due) {
		due = d
	}
	wait := time.Until(due)
	if wait <= 0 {
		return true
	}
	ctx, cancel := context.WithCancelCause(t.part.stop)
	defer cancel(nil)
	defer a.control.watch(t.meta.job, cancel)()
	waitFor(ctx, wait)
	return t.part.stop.Err() == nil
}

// acquire waits until the record fits the bounds; false when the partition stops first.
func (a *admitter) acquire(t *task) bool {
	p := t.part
	if a.records.acquire(p.stop, t.owner(), 1) != nil {
		return false
	}
	if a.bytes.acquire(p.stop, t.owner(), t.cost) != nil {
		a.records.release(t.owner(), 1)
		return false
	}
	a.metrics.InFlight(p.hard, a.stage, p.lane, 1, t.cost)
	a.moved.Add(1)
	return true
}

// release gives back what acquire took, whether or not the record was finished.
func (a *admitter) release(t *task) {
	a.moved.Add(1)
	a.metrics.InFlight(t.part.hard, a.stage, t.part.lane, -1, -t.cost)
	a.bytes.release(t.owner(), t.cost)
	a.records.release(t.owner(), 1)
}

// waitFor waits for d; false when ctx ends first.
func waitFor(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

package stage

import (
	"context"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/sync/semaphore"
)

const (
	// A partition with this much polled and not yet taken up is paused, and resumed at a quarter.
	pauseRecords = 64
	pauseBytes   = 1 << 20
)

type topicPartition struct {
	topic string
	id    int32
}

// task is one record between being polled and being committed.
type task struct {
	part *partition
	rec  *kgo.Record
	meta meta
	cost int64
	done bool // guarded by part.mu
}

// partition is one assigned partition: what is polled and waits, what is in hand, and how far it may
// be committed. Its feeder admits records in order, as the bounds on records and bytes allow.
type partition struct {
	topicPartition
	runner *Runner
	share  *semaphore.Weighted // of the records in flight

	// stop ends when no new work may begin; hard ends when running work must end.
	stop    context.Context //nolint:containedctx // lifetimes of the assignment, not of a call
	stopNow context.CancelFunc
	hard    context.Context //nolint:containedctx // see stop
	abandon context.CancelCauseFunc
	wake    chan struct{}

	mu           sync.Mutex
	pending      []*kgo.Record
	pendingBytes int
	paused       bool
	window       []*task // taken up and not yet committed, by offset
	running      int
	idle         chan struct{} // closed when running falls to 0
	closed       bool
}

func newPartition(r *Runner, tp topicPartition) *partition {
	p := &partition{
		topicPartition: tp, runner: r, wake: make(chan struct{}, 1),
		share: semaphore.NewWeighted(int64(max(1, r.cfg.MaxInFlightRecords/2))),
	}
	p.hard, p.abandon = context.WithCancelCause(context.Background())
	p.stop, p.stopNow = context.WithCancel(p.hard)
	return p
}

// enqueue takes polled records, never blocks, and pauses the partition when enough wait.
func (p *partition) enqueue(recs []*kgo.Record) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop.Err() != nil {
		return // whoever owns the partition next reads them again
	}
	for _, rec := range recs {
		p.pending = append(p.pending, rec)
		p.pendingBytes += recordBytes(rec)
	}
	if !p.paused && (len(p.pending) >= pauseRecords || p.pendingBytes >= pauseBytes) {
		p.paused = true
		p.runner.client.PauseFetchPartitions(p.asMap())
	}
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// next waits for a polled record; nil when the partition stops.
func (p *partition) next() *kgo.Record {
	for {
		if rec := p.pop(); rec != nil {
			return rec
		}
		select {
		case <-p.stop.Done():
			return nil
		case <-p.wake:
		}
	}
}

func (p *partition) pop() *kgo.Record {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.pending) == 0 || p.stop.Err() != nil {
		return nil
	}
	rec := p.pending[0]
	p.pending[0] = nil
	p.pending = p.pending[1:]
	p.pendingBytes -= recordBytes(rec)
	if p.paused && len(p.pending) <= pauseRecords/4 && p.pendingBytes <= pauseBytes/4 {
		p.resume()
	}
	return rec
}

func (p *partition) resume() {
	p.paused = false
	p.runner.client.ResumeFetchPartitions(p.asMap())
}

// feed admits records one by one until the partition stops. A record of a retry topic that is not
// due yet holds up only its own partition, whose later records are due later.
func (p *partition) feed() {
	for {
		rec := p.next()
		if rec == nil {
			return
		}
		t := p.runner.newTask(p, rec)
		if !p.runner.waitDue(t) || !p.admit(t) {
			return
		}
		p.mu.Lock()
		p.window = append(p.window, t)
		p.mu.Unlock()
		p.runner.keys.add(t)
	}
}

// admit waits until the record fits the bounds; false when the partition stops first.
func (p *partition) admit(t *task) bool {
	r := p.runner
	if p.share.Acquire(p.stop, 1) != nil {
		return false
	}
	if r.records.Acquire(p.stop, 1) != nil {
		p.share.Release(1)
		return false
	}
	if r.bytes.Acquire(p.stop, t.cost) != nil {
		r.records.Release(1)
		p.share.Release(1)
		return false
	}
	r.metrics.InFlight(p.hard, r.cfg.Stage, 1, t.cost)
	return true
}

// release gives back what admit took, whether or not the record was finished.
func (t *task) release() {
	r := t.part.runner
	r.metrics.InFlight(t.part.hard, r.cfg.Stage, -1, -t.cost)
	r.bytes.Release(t.cost)
	r.records.Release(1)
	t.part.share.Release(1)
}

// begin notes running work; false when none may begin any more.
func (p *partition) begin() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop.Err() != nil {
		return false
	}
	p.running++
	return true
}

func (p *partition) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running--
	if p.running == 0 && p.idle != nil {
		close(p.idle)
		p.idle = nil
	}
}

// finish marks a task done and lets the contiguous finished prefix be committed. After close it
// changes nothing: the partition is another's.
func (p *partition) finish(t *task) {
	p.mu.Lock()
	defer p.mu.Unlock()
	t.done = true
	var last *kgo.Record
	for len(p.window) > 0 && p.window[0].done {
		last = p.window[0].rec
		p.window[0] = nil
		p.window = p.window[1:]
	}
	if last != nil && !p.closed {
		p.runner.client.MarkCommitRecords(last)
	}
}

// stopped begins the end of the partition and returns a channel that closes when nothing runs.
func (p *partition) stopped() <-chan struct{} {
	p.stopNow()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pending, p.pendingBytes = nil, 0
	switch {
	case p.idle != nil:
		return p.idle
	case p.running > 0:
		p.idle = make(chan struct{})
		return p.idle
	}
	none := make(chan struct{})
	close(none)
	return none
}

// close forbids further marks and ends running work with cause.
func (p *partition) close(cause error) {
	p.mu.Lock()
	p.closed = true
	if p.paused {
		p.resume() // a pause outlives the assignment otherwise
	}
	p.mu.Unlock()
	p.abandon(cause)
}

func (p *partition) asMap() map[string][]int32 { return map[string][]int32{p.topic: {p.id}} }

// waitIdle waits until nothing runs on the partitions, at most for d, and tells whether that is so.
func waitIdle(parts []*partition, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	for _, p := range parts {
		select {
		case <-p.stopped():
		case <-timer.C:
			return false
		}
	}
	return true
}

func recordBytes(rec *kgo.Record) int {
	n := len(rec.Key) + len(rec.Value)
	for _, h := range rec.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

package stage

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/larkstream/larkstream/shared/event"
)

type topicPartition struct {
	topic string
	id    int32
}

func (tp topicPartition) asMap() map[string][]int32 { return map[string][]int32{tp.topic: {tp.id}} }

// consumer is what a partition needs of the Kafka client.
type consumer interface {
	fetcher
	marker
}

// partition is one assigned partition from its assignment to its end: what is polled and waits (inbox), how far it may be
// committed (offsets), and how much work on it runs.
type partition struct {
	topicPartition
	lane    string // of its topic
	inbox   *inbox
	offsets *offsets
	guard   *guard
	next    atomic.Int64        // offset that the next fetch should begin with, -1 if unknown
	places  *semaphore.Weighted // for records that are queued or in flight; the admitter's

	// stop ends when no new work may begin; hard ends when running work must end.
	stop    context.Context //nolint:containedctx // lifetimes of the assignment, not of a call
	stopNow context.CancelFunc
	hard    context.Context //nolint:containedctx // see stop
	abandon context.CancelCauseFunc

	mu      sync.Mutex
	running int
	idle    chan struct{} // closed when running falls to 0
}

func newPartition(tp topicPartition, client consumer, places *semaphore.Weighted, guard *guard) *partition {
	p := &partition{topicPartition: tp, lane: event.LaneOf(tp.topic), offsets: &offsets{mark: client}, guard: guard, places: places}
	p.next.Store(-1)
	p.hard, p.abandon = context.WithCancelCause(context.Background())
	p.stop, p.stopNow = context.WithCancel(p.hard)
	p.inbox = newInbox(p.stop, tp, client)
	return p
}

// feed hands the partition's records to the admitter, one by one and in order, until the partition stops.
func (p *partition) feed(read *taskReader, admit *admitter) {
	for {
		rec := p.inbox.next()
		if rec == nil || !p.guard.open(p.stop) {
			return
		}
		t := read.task(p, rec)
		p.offsets.add(t)
		if !admit.admit(t) {
			return
		}
	}
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

// stopped begins the end of the partition and returns a channel that closes when nothing runs.
func (p *partition) stopped() <-chan struct{} {
	p.stopNow()
	p.inbox.clear()
	p.mu.Lock()
	defer p.mu.Unlock()
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

// close forbids further commits and ends running work with cause.
func (p *partition) close(cause error) {
	p.offsets.close()
	p.inbox.unpause()
	p.abandon(cause)
}

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

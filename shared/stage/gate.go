package stage

import (
	"context"
	"slices"
	"sync"

	"github.com/larkstream/larkstream/shared/event"
)

// bulkTurn is after how many interactive records a bulk record that waits is next: the share that bulk work always has.
const bulkTurn = 9

// gate shares places between the lanes. Interactive records are let in before bulk ones, but for the turns of bulkTurn; bulk records may
// take a part of the places only. Within a lane the first to come is the first to be let in, however many places it needs.
type gate struct {
	mu       sync.Mutex
	free     int64 // places that nobody has
	bulkFree int64 // places that bulk records may still take
	// waiting are the interactive and the bulk records, first come first. held lanes are not let in.
	interactive, bulk laneQueue
	passed            int // interactive records let in while a bulk record waited
}

type laneQueue struct {
	waiting []*waiter
	held    bool
}

type waiter struct {
	places int64
	in     chan struct{} // closed once the places are taken
}

// newGate has that many places, of which bulk records may take the second number.
func newGate(places, forBulk int64) *gate { return &gate{free: places, bulkFree: forBulk} }

func (g *gate) queue(lane string) *laneQueue {
	if lane == event.LaneBulk {
		return &g.bulk
	}
	return &g.interactive
}

// acquire takes places for a record of the lane, waiting for them; an error is that of ctx, which ended first.
func (g *gate) acquire(ctx context.Context, lane string, places int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &waiter{places: places, in: make(chan struct{})}
	g.mu.Lock()
	q := g.queue(lane)
	q.waiting = append(q.waiting, w)
	g.letIn()
	g.mu.Unlock()
	return g.wait(ctx, lane, w)
}

// yield gives a bulk record's places to an interactive record that waits for them, and takes places again before all bulk records that wait. An error is
// that of ctx, which ended first: then the places are gone.
func (g *gate) yield(ctx context.Context, lane string, places int64) error {
	w := &waiter{places: places, in: make(chan struct{})}
	g.mu.Lock()
	if len(g.interactive.waiting) == 0 || g.interactive.held {
		g.mu.Unlock()
		return nil
	}
	q := g.queue(lane)
	q.waiting = slices.Insert(q.waiting, 0, w)
	g.give(lane, places)
	g.letIn()
	g.mu.Unlock()
	return g.wait(ctx, lane, w)
}

// wait returns once the places of w are taken, or ctx ends.
func (g *gate) wait(ctx context.Context, lane string, w *waiter) error {
	select {
	case <-w.in:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	q := g.queue(lane)
	if i := slices.Index(q.waiting, w); i >= 0 {
		q.waiting = slices.Delete(q.waiting, i, i+1)
	} else {
		g.give(lane, w.places)
	}
	g.letIn()
	return ctx.Err()
}

// release gives places back.
func (g *gate) release(lane string, places int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.give(lane, places)
	g.letIn()
}

// hold lets no record of the lane in, or lets them in again. What is in stays in.
func (g *gate) hold(lane string, held bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue(lane).held = held
	g.letIn()
}

func (g *gate) give(lane string, places int64) {
	g.free += places
	if lane == event.LaneBulk {
		g.bulkFree += places
	}
}

// letIn gives places to whoever is next, for as long as there are enough. It does not pass over a record that needs more than are free:
// that one would never come in.
func (g *gate) letIn() {
	for {
		q := g.next()
		if q == nil || q.waiting[0].places > g.free {
			return
		}
		w := q.waiting[0]
		q.waiting[0] = nil
		q.waiting = q.waiting[1:]
		g.free -= w.places
		switch {
		case q == &g.bulk:
			g.bulkFree -= w.places
			g.passed = 0
		case len(g.bulk.waiting) > 0:
			g.passed++
		}
		close(w.in)
	}
}

// next is the lane whose turn it is, nil if no record may come in whatever is free.
func (g *gate) next() *laneQueue {
	interactive := len(g.interactive.waiting) > 0 && !g.interactive.held
	bulk := len(g.bulk.waiting) > 0 && !g.bulk.held && g.bulk.waiting[0].places <= g.bulkFree
	switch {
	case bulk && (!interactive || g.passed >= bulkTurn):
		return &g.bulk
	case interactive:
		return &g.interactive
	}
	return nil
}

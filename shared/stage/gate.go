package stage

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/larkstream/larkstream/shared/event"
)

// bulkTurn is the default of Config.BulkTurn.
const bulkTurn = 9

// gate shares places between the lanes, and between the tenants of a lane. Interactive records are let in before bulk ones, but for the turns of
// bulkTurn; bulk records may take a part of the places only. Within a lane tenants take turns, and of each tenant the first to come is the first to be
// let in, however many places it needs. A tenant leaves some places of its lane to others, who then need not wait until one of its records is done.
type gate struct {
	mu       sync.Mutex
	free     int64 // places that nobody has
	bulkFree int64 // places that bulk records may still take
	// waiting are the interactive and the bulk records, first come first. held lanes are not let in.
	interactive, bulk laneQueue
	passed            int // interactive records let in while a bulk record waited
	bulkTurn          int // after how many of them a bulk record is next
}

// laneQueue are the records of a lane that wait.
type laneQueue struct {
	tenants map[string]*tenantQueue // who has places, or records that wait, or had such while others waited
	waits   int                     // records, of all tenants
	turns   int64                   // records let in
	most    int64                   // places that one tenant may have; 0 = all
	held    bool
}

// tenantQueue are a tenant's records of a lane that wait.
type tenantQueue struct {
	waiting []*waiter
	has     int64 // places
	turn    int64 // laneQueue.turns at its last turn; 0 for a newcomer, below 0 for one whose record has begun and waits for its place
}

type waiter struct {
	places int64
	in     chan struct{} // closed once the places are taken
}

// owner is whose record it is and in which lane.
type owner struct{ lane, tenant string }

// newGate has that many places, of which bulk records may take the second number. After turn interactive records, a bulk record that waits is next.
func newGate(places, forBulk int64, turn int) *gate {
	return &gate{free: places, bulkFree: forBulk, bulkTurn: turn}
}

// perTenant bounds the places that one tenant may have in each lane.
func (g *gate) perTenant(interactive, bulk int64) *gate {
	g.interactive.most, g.bulk.most = interactive, bulk
	return g
}

func (g *gate) queue(lane string) *laneQueue {
	if lane == event.LaneBulk {
		return &g.bulk
	}
	return &g.interactive
}

// acquire takes places for a record, waiting for them; an error is that of ctx, which ended first.
func (g *gate) acquire(ctx context.Context, of owner, places int64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &waiter{places: places, in: make(chan struct{})}
	g.mu.Lock()
	q := g.queue(of.lane)
	t := q.of(of.tenant)
	t.waiting = append(t.waiting, w)
	q.waits++
	g.letIn()
	g.mu.Unlock()
	return g.wait(ctx, of, w)
}

// yield gives a bulk record's places to an interactive record that waits for them, and takes places again before all bulk records that wait. An error is
// that of ctx, which ended first: then the places are gone.
func (g *gate) yield(ctx context.Context, of owner, places int64) error {
	w := &waiter{places: places, in: make(chan struct{})}
	g.mu.Lock()
	if g.interactive.waits == 0 || g.interactive.held {
		g.mu.Unlock()
		return nil
	}
	q := g.queue(of.lane)
	t := q.of(of.tenant)
	t.waiting, t.turn = slices.Insert(t.waiting, 0, w), -1
	q.waits++
	g.give(of, places)
	g.letIn()
	g.mu.Unlock()
	return g.wait(ctx, of, w)
}

// wait returns once the places of w are taken, or ctx ends.
func (g *gate) wait(ctx context.Context, of owner, w *waiter) error {
	select {
	case <-w.in:
		return nil
	case <-ctx.Done():
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	q := g.queue(of.lane)
	if !q.leave(of.tenant, w) {
		g.give(of, w.places)
	}
	g.letIn()
	return ctx.Err()
}

// release gives places back.
func (g *gate) release(of owner, places int64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.give(of, places)
	g.letIn()
}

// hold lets no record of the lane in, or lets them in again. What is in stays in.
func (g *gate) hold(lane string, held bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.queue(lane).held = held
	g.letIn()
}

func (g *gate) give(of owner, places int64) {
	g.free += places
	if of.lane == event.LaneBulk {
		g.bulkFree += places
	}
	q := g.queue(of.lane)
	q.of(of.tenant).has -= places
	q.forget()
}

// letIn gives places to whoever is next, for as long as there are enough. It does not pass over a record that needs more than are free:
// that one would never come in.
func (g *gate) letIn() {
	for {
		q, t := g.next()
		if t == nil || t.waiting[0].places > g.free {
			return
		}
		w := q.take(t)
		g.free -= w.places
		switch {
		case q == &g.bulk:
			g.bulkFree -= w.places
			g.passed = 0
		case g.bulk.waits > 0:
			g.passed++
		}
		close(w.in)
	}
}

// next is the lane and the tenant whose turn it is, nil if no record may come in whatever is free.
func (g *gate) next() (*laneQueue, *tenantQueue) {
	person, catalogue := g.interactive.next(), g.bulk.next()
	if catalogue != nil && catalogue.waiting[0].places > g.bulkFree {
		catalogue = nil
	}
	switch {
	case catalogue != nil && (person == nil || g.passed >= g.bulkTurn):
		return &g.bulk, catalogue
	case person != nil:
		return &g.interactive, person
	}
	return nil, nil
}

func (q *laneQueue) of(tenant string) *tenantQueue {
	t := q.tenants[tenant]
	if t == nil {
		if q.tenants == nil {
			q.tenants = make(map[string]*tenantQueue)
		}
		t = &tenantQueue{}
		q.tenants[tenant] = t
	}
	return t
}

// next is the tenant that waits for its turn the longest, nil if nobody may come in.
func (q *laneQueue) next() (first *tenantQueue) {
	if q.held || q.waits == 0 {
		return nil
	}
	least := ""
	for name, t := range q.tenants {
		may := len(t.waiting) > 0 && (q.most == 0 || t.has == 0 || t.has+t.waiting[0].places <= q.most)
		if may && (first == nil || t.turn < first.turn || (t.turn == first.turn && name < least)) {
			first, least = t, name
		}
	}
	return first
}

// take lets the first record of a tenant in.
func (q *laneQueue) take(t *tenantQueue) *waiter {
	w := t.waiting[0]
	t.waiting[0] = nil
	t.waiting = t.waiting[1:]
	q.turns++
	t.turn = q.turns
	t.has += w.places
	q.waits--
	q.forget()
	return w
}

// leave removes a record that waits no more; false if it came in.
func (q *laneQueue) leave(tenant string, w *waiter) bool {
	t := q.tenants[tenant]
	if t == nil {
		return false
	}
	i := slices.Index(t.waiting, w)
	if i < 0 {
		return false
	}
	t.waiting = slices.Delete(t.waiting, i, i+1)
	q.waits--
	q.forget()
	return true
}

// forget forgets the tenants that have nothing here. Turns are remembered while anybody waits: who comes again at once is no newcomer.
func (q *laneQueue) forget() {
	if q.waits == 0 {
		maps.DeleteFunc(q.tenants, func(_ string, t *tenantQueue) bool { return t.has == 0 })
	}
}

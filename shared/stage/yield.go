package stage

import (
	"context"
	"sync"

	"github.com/larkstream/larkstream/shared/event"
)

// Yield lets a record of the interactive lane go first, if one waits for the place of the bulk record that ctx belongs to. Handlers that take long
// call it between their steps: an interactive record then waits for a step and not for the whole of a track. It returns at once if nobody waits,
// and for interactive records. The error is the cause of the end of ctx.
func Yield(ctx context.Context) error {
	p, ok := ctx.Value(placeKey{}).(*place)
	if !ok {
		return nil
	}
	return p.yield(ctx)
}

// placeKey is the context key of a record's place.
type placeKey struct{}

// place is the place of a running record among the handlers.
type place struct {
	gate   *gate
	of     owner
	places int64
	alone  bool // nothing else may run beside the record, not even while it waits

	mu    sync.Mutex
	given bool // it has been given back
}

func (p *place) yield(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.given || p.alone || p.of.lane != event.LaneBulk {
		return nil
	}
	if p.gate.yield(ctx, p.of, p.places) != nil {
		p.given = true
		return context.Cause(ctx)
	}
	return nil
}

// release gives the place back, once.
func (p *place) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.given {
		p.given = true
		p.gate.release(p.of, p.places)
	}
}

// Package batch joins the writes of concurrent callers into one transaction, because a transaction costs a disk flush whatever its size.
package batch

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// Config of a Batcher.
type Config[In, Out any] struct {
	// Max is how many writes one transaction takes.
	Max int
	// Timeout bounds one transaction.
	Timeout time.Duration
	// Write writes all of in, or nothing and returns an error. Its results have the order of in. It is called once at a time.
	Write func(ctx context.Context, in []In) ([]Out, error)
	// Alone tells whether one write may be at fault for the error of many: each is then written by itself.
	Alone func(error) bool
}

// Batcher writes for many callers. Whoever gets the turn writes for all that wait at that moment; nobody waits for company.
type Batcher[In, Out any] struct {
	cfg   Config[In, Out]
	turn  chan struct{}
	mu    sync.Mutex
	queue []*write[In, Out]
}

type write[In, Out any] struct {
	in   In
	done chan struct{}
	out  Out
	err  error
}

// New makes a Batcher; every field of cfg is required.
func New[In, Out any](cfg Config[In, Out]) *Batcher[In, Out] {
	return &Batcher[In, Out]{cfg: cfg, turn: make(chan struct{}, 1)}
}

// Do writes one value and returns when it is durable. When ctx ends first, the value may or may not have been written.
func (b *Batcher[In, Out]) Do(ctx context.Context, in In) (out Out, err error) {
	w := &write[In, Out]{in: in, done: make(chan struct{})}
	b.mu.Lock()
	b.queue = append(b.queue, w)
	b.mu.Unlock()
	for {
		select {
		case <-w.done:
			return w.out, w.err
		case <-ctx.Done():
			return out, fmt.Errorf("waiting for the job store: %w", context.Cause(ctx))
		case b.turn <- struct{}{}:
			b.writeQueued(ctx)
			<-b.turn
		}
	}
}

// writeQueued writes what is queued. A caller's end must not take the others' writes with it.
func (b *Batcher[In, Out]) writeQueued(ctx context.Context) {
	batch := b.take()
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), b.cfg.Timeout)
	defer cancel()
	err := b.writeTogether(ctx, batch)
	for _, w := range batch {
		if w.err = err; err != nil && len(batch) > 1 && b.cfg.Alone(err) {
			w.err = b.writeTogether(ctx, []*write[In, Out]{w}) // one bad value must not fail the others
		}
		close(w.done)
	}
}

func (b *Batcher[In, Out]) take() []*write[In, Out] {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.queue), b.cfg.Max)
	batch := b.queue[:n:n]
	b.queue = b.queue[n:]
	return batch
}

func (b *Batcher[In, Out]) writeTogether(ctx context.Context, batch []*write[In, Out]) error {
	in := make([]In, len(batch))
	for i, w := range batch {
		in[i] = w.in
	}
	out, err := b.cfg.Write(ctx, in)
	if err != nil {
		return err
	}
	for i, w := range batch {
		w.out = out[i]
	}
	return nil
}

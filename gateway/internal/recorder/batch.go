package recorder

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/store"
)

const (
	maxBatch     = 256
	writeTimeout = 30 * time.Second
)

// batcher joins the writes of concurrent callers into one transaction, because a transaction costs
// a disk flush whatever its size. Whoever gets the turn writes for all that wait at that moment;
// nobody waits for company.
type batcher struct {
	store Store
	turn  chan struct{}
	mu    sync.Mutex
	queue []*write
}

type write struct {
	entry store.Entry
	done  chan struct{}
	res   store.Recorded
	err   error
}

func newBatcher(s Store) *batcher {
	return &batcher{store: s, turn: make(chan struct{}, 1)}
}

// record writes one entry and returns when it is durable. When ctx ends first, the entry may or may
// not have been written.
func (b *batcher) record(ctx context.Context, entry store.Entry) (store.Recorded, error) {
	w := &write{entry: entry, done: make(chan struct{})}
	b.mu.Lock()
	b.queue = append(b.queue, w)
	b.mu.Unlock()
	for {
		select {
		case <-w.done:
			return w.res, w.err
		case <-ctx.Done():
			return store.Recorded{}, fmt.Errorf("recording for job: %w", context.Cause(ctx))
		case b.turn <- struct{}{}:
			b.writeBatch(ctx)
			<-b.turn
		}
	}
}

// writeBatch writes what is queued. A caller's end must not take the others' writes with it.
func (b *batcher) writeBatch(ctx context.Context) {
	batch := b.take()
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancel()
	err := b.writeTogether(ctx, batch)
	for _, w := range batch {
		if w.err = err; errors.Is(err, store.ErrRefused) && len(batch) > 1 {
			w.err = b.writeTogether(ctx, []*write{w}) // one bad entry must not fail the others
		}
		close(w.done)
	}
}

func (b *batcher) take() []*write {
	b.mu.Lock()
	defer b.mu.Unlock()
	n := min(len(b.queue), maxBatch)
	batch := b.queue[:n:n]
	b.queue = b.queue[n:]
	return batch
}

func (b *batcher) writeTogether(ctx context.Context, batch []*write) error {
	entries := make([]store.Entry, len(batch))
	for i, w := range batch {
		entries[i] = w.entry
	}
	results, err := b.store.Record(ctx, entries)
	if err != nil {
		return err
	}
	for i, w := range batch {
		w.res = results[i]
	}
	return nil
}

package recorder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/stage"
)

const (
	minBackoff = 100 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// persist calls write until the store takes what it writes, however long that is: a full disk or a busy, read-only or unreachable database is
// no fault of the record, and the retry topics and dead letters would only carry the record away from where it belongs. A record that the
// store refuses is given up. Otherwise the error means that ctx has ended.
func (r *Recorder) persist(ctx context.Context, write func() error) error {
	waiting := false
	defer func() { r.waits.end(waiting) }()
	for backoff := minBackoff; ; backoff = min(2*backoff, maxBackoff) {
		err := write()
		switch {
		case err == nil, ctx.Err() != nil:
			return err
		case errors.Is(err, store.ErrRefused):
			return stage.Permanent(event.CodeInternal, err)
		}
		r.waits.begin(&waiting, err)
		if backoff == minBackoff {
			r.deps.Log.WarnContext(ctx, "recorder waits for the job store", slog.Any("error", err))
		}
		timer := time.NewTimer(backoff/2 + time.Duration(r.deps.Random()%uint64(backoff/2)))
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
	}
}

// Ready is nil unless records wait because the job store cannot be written.
func (r *Recorder) Ready() error { return r.waits.fault() }

// waits counts the records that wait for the store, and remembers why.
type waits struct {
	mu   sync.Mutex
	n    int
	last error
}

func (w *waits) begin(waiting *bool, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.last = err
	if !*waiting {
		*waiting = true
		w.n++
	}
}

func (w *waits) end(waiting bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if waiting {
		w.n--
	}
}

func (w *waits) fault() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.n == 0 {
		return nil
	}
	return fmt.Errorf("the job store cannot be written, %d records wait; free its disk or make its database writable: %w", w.n, w.last)
}

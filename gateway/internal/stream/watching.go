package stream

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/larkstream/larkstream/shared/event"
)

// Watching tells the stages which jobs are watched: only of those do they publish tokens, see event.WatchLease. It is safe for concurrent use.
type Watching struct {
	source string
	emit   func(ctx context.Context, rec event.Record)
	log    *slog.Logger

	mu   sync.Mutex
	jobs map[string]int // watchers
}

// NewWatching makes a Watching that sends with emit, which must not wait.
func NewWatching(source string, emit func(ctx context.Context, rec event.Record), log *slog.Logger) *Watching {
	return &Watching{source: source, emit: emit, log: log, jobs: make(map[string]int)}
}

// Enter notes a watcher of the job until leave is called. The stages are told at once of the first one.
func (w *Watching) Enter(ctx context.Context, jobID string) (leave func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.jobs[jobID]++; w.jobs[jobID] == 1 {
		w.say(ctx, jobID)
	}
	return sync.OnceFunc(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.jobs[jobID]--
	})
}

// Run repeats what is still so, and takes back what is not, until ctx ends. A job whose watchers have just gone is kept until the next round:
// a watcher who loses his connection comes back.
func (w *Watching) Run(ctx context.Context) error {
	ticker := time.NewTicker(event.WatchRenewal)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			w.round(ctx)
		}
	}
}

func (w *Watching) round(ctx context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for job, watchers := range w.jobs {
		if watchers > 0 {
			w.say(ctx, job)
			continue
		}
		delete(w.jobs, job)
		w.emit(ctx, event.Unwatched(job))
	}
}

func (w *Watching) say(ctx context.Context, jobID string) {
	rec, err := event.Watched(w.source, jobID, time.Now())
	if err != nil {
		w.log.WarnContext(ctx, "telling the stages that a job is watched; its tokens are not streamed", "job_id", jobID, "error", err)
		return
	}
	w.emit(ctx, rec)
}

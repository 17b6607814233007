package housekeeping

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/larkstream/larkstream/shared/blob"
)

// Store is the part of the job store that is looked after.
type Store interface {
	ForgetKeys(ctx context.Context) (int, error)
	OutboxDepth(ctx context.Context) (n int, oldest time.Time, err error)
}

// Deps of a Keeper.
type Deps struct {
	Store Store
	// Sweep keeps the object store within its budget.
	Sweep func(ctx context.Context) (blob.Swept, error)
	// Audit checks the ledger.
	Audit func(ctx context.Context) error
	// OutboxPending takes the number of records that wait to be published.
	OutboxPending func(ctx context.Context, n int)
	Log           *slog.Logger
}

// Keeper runs the chores.
type Keeper struct {
	deps     Deps
	interval time.Duration
}

// New refuses missing dependencies.
func New(interval time.Duration, deps Deps) (*Keeper, error) {
	if interval <= 0 || deps.Store == nil || deps.Sweep == nil || deps.Audit == nil || deps.OutboxPending == nil || deps.Log == nil {
		return nil, errors.New("making housekeeping: an interval and all dependencies are required")
	}
	return &Keeper{deps: deps, interval: interval}, nil
}

// Run does the chores at once and then after every interval, until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	ticker := time.NewTicker(k.interval)
	defer ticker.Stop()
	for {
		if err := k.Once(ctx); err != nil && ctx.Err() == nil {
			k.deps.Log.WarnContext(ctx, "housekeeping is incomplete", slog.Any("error", err))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Once does each chore once; one that goes wrong does not keep the others from being done.
func (k *Keeper) Once(ctx context.Context) error {
	_, errKeys := k.deps.Store.ForgetKeys(ctx)
	n, _, errDepth := k.deps.Store.OutboxDepth(ctx)
	if errDepth == nil {
		k.deps.OutboxPending(ctx, n)
	}
	swept, errSweep := k.deps.Sweep(ctx)
	if swept.Removed > 0 {
		k.deps.Log.InfoContext(ctx, "object store swept", slog.Int("removed", swept.Removed),
			slog.Int64("removed_bytes", swept.RemovedBytes), slog.Int64("bytes", swept.Bytes-swept.RemovedBytes))
	}
	return errors.Join(errKeys, errDepth, errSweep, k.deps.Audit(ctx))
}

package housekeeping

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Store is the part of the job store that is looked after.
type Store interface {
	ForgetKeys(ctx context.Context) (int, error)
	OutboxDepth(ctx context.Context) (n int, oldest time.Time, err error)
	Retentions(ctx context.Context) (map[string]time.Duration, error)
	DeleteEnded(ctx context.Context, tenant string, before time.Time, limit int) (int, error)
	DeleteBatches(ctx context.Context, tenant string, before time.Time, limit int) (int, error)
	ForgetAudio(ctx context.Context, tenant string, before time.Time) error
	WebhookBacklog(ctx context.Context) (store.WebhookBacklog, error)
	ForgetDeliveries(ctx context.Context, before time.Time, limit int) (int, error)
}

// retireBatch is how many jobs one transaction deletes: the outcomes of more would hold the only writer for long.
const retireBatch = 50

const (
	// keepDeliveries is how long webhooks and their log stay.
	keepDeliveries  = 30 * 24 * time.Hour
	deliveriesBatch = 500
)

// Config of a Keeper.
type Config struct {
	// Interval lies between two rounds of chores.
	Interval time.Duration
	// Retention is how long jobs stay after their end, and how long a tenant may name audio by its hash after its last job with it; 0 keeps both for
	// ever. A tenant may have a retention of its own.
	Retention time.Duration
}

// Deps of a Keeper.
type Deps struct {
	Store Store
	// Sweep keeps the object store within its budget.
	Sweep func(ctx context.Context) (blob.Swept, error)
	// ExpireFiles deletes files whose time is over.
	ExpireFiles func(ctx context.Context) error
	// Audit checks the ledger.
	Audit func(ctx context.Context) error
	// OutboxPending takes the number of records that wait to be published.
	OutboxPending func(ctx context.Context, n int)
	// Webhooks takes what is to be delivered, and to whom nothing can be.
	Webhooks func(ctx context.Context, b telemetry.WebhookBacklog)
	Log      *slog.Logger
}

// Keeper runs the chores.
type Keeper struct {
	cfg  Config
	deps Deps
	wake chan struct{}
}

// wakePause is the least time from the end of one round of chores to one that Wake asks for: listing a large object store is dear.
const wakePause = 10 * time.Second

// New refuses missing dependencies.
func New(cfg Config, deps Deps) (*Keeper, error) {
	if cfg.Interval <= 0 || cfg.Retention < 0 || deps.Store == nil || deps.Sweep == nil || deps.ExpireFiles == nil || deps.Audit == nil || deps.OutboxPending == nil || deps.Webhooks == nil || deps.Log == nil {
		return nil, errors.New("making housekeeping: an interval and all dependencies are required")
	}
	return &Keeper{cfg: cfg, deps: deps, wake: make(chan struct{}, 1)}, nil
}

// Wake asks for a round of chores soon, and does not wait for it.
func (k *Keeper) Wake() {
	select {
	case k.wake <- struct{}{}:
	default:
	}
}

// Run does the chores at once, then after every interval and when Wake asks for them, until ctx ends.
func (k *Keeper) Run(ctx context.Context) error {
	for {
		if err := k.Once(ctx); err != nil && ctx.Err() == nil {
			k.deps.Log.WarnContext(ctx, "housekeeping is incomplete", slog.Any("error", err))
		}
		if !k.rest(ctx) {
			return nil
		}
	}
}

// rest waits for the next round; false when ctx ends first.
func (k *Keeper) rest(ctx context.Context) bool {
	least, most := time.NewTimer(min(wakePause, k.cfg.Interval)), time.NewTimer(k.cfg.Interval)
	defer least.Stop()
	defer most.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-least.C:
	}
	select {
	case <-ctx.Done():
		return false
	case <-k.wake:
	case <-most.C:
	}
	return true
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
	return errors.Join(errKeys, errDepth, errSweep, k.deps.ExpireFiles(ctx), k.retire(ctx), k.webhooks(ctx), k.deps.Audit(ctx))
}

// webhooks deletes old deliveries and measures those that are to be made.
func (k *Keeper) webhooks(ctx context.Context) error {
	b, err := k.deps.Store.WebhookBacklog(ctx)
	if err != nil {
		return err
	}
	k.deps.Webhooks(ctx, telemetry.WebhookBacklog{Pending: b.Pending, Oldest: age(b.Oldest), Due: age(b.Due), Failing: b.Failing, Disabled: b.Disabled})
	for {
		n, err := k.deps.Store.ForgetDeliveries(ctx, time.Now().Add(-keepDeliveries), deliveriesBatch)
		if err != nil || n < deliveriesBatch {
			return err
		}
	}
}

// age is the time since then; 0 for no time.
func age(then time.Time) time.Duration {
	if then.IsZero() {
		return 0
	}
	return max(0, time.Since(then))
}

// retire deletes the jobs that ended longer ago than the retention of their tenant, and what says whose audio it is that no job has named for as long.
func (k *Keeper) retire(ctx context.Context) error {
	tenants, err := k.deps.Store.Retentions(ctx)
	if err != nil {
		return err
	}
	total := 0
	for tenant, retention := range tenants {
		if retention = cmp.Or(retention, k.cfg.Retention); retention == 0 {
			continue
		}
		n, err := k.retireOf(ctx, tenant, time.Now().Add(-retention))
		total += n
		if err != nil {
			return err
		}
	}
	if total > 0 {
		k.deps.Log.InfoContext(ctx, "old jobs deleted", slog.Int("jobs", total))
	}
	return nil
}

func (k *Keeper) retireOf(ctx context.Context, tenant string, before time.Time) (total int, err error) {
	for ctx.Err() == nil {
		n, err := k.deps.Store.DeleteEnded(ctx, tenant, before, retireBatch)
		total += n
		if err != nil {
			return total, err
		}
		if n < retireBatch {
			if err := k.retireBatches(ctx, tenant, before); err != nil {
				return total, err
			}
			return total, k.deps.Store.ForgetAudio(ctx, tenant, before)
		}
	}
	return total, ctx.Err()
}

func (k *Keeper) retireBatches(ctx context.Context, tenant string, before time.Time) error {
	for ctx.Err() == nil {
		if n, err := k.deps.Store.DeleteBatches(ctx, tenant, before, 1); err != nil || n == 0 { // one may have many requests
			return err
		}
	}
	return ctx.Err()
}

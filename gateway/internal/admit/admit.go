package admit

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/outbox"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Store is the part of the job store that admits; *store.SQL is one.
type Store interface {
	Admit(ctx context.Context, a store.Admission) (int, error)
	Waiting(ctx context.Context, lane string) (int, error)
}

var _ Store = (*store.SQL)(nil)

// Metrics of waiting jobs; *telemetry.LedgerMetrics is one.
type Metrics interface {
	Waiting(ctx context.Context, lane string, jobs int)
}

var _ Metrics = (*telemetry.LedgerMetrics)(nil)

// Config of an Admitter; zero values mean the defaults.
type Config struct {
	// Windows is how many windows of each lane may be in Kafka. A lane that it does not name has none.
	Windows map[string]int
	// TenantWindows is how many windows of one tenant may be in Kafka in each lane. A lane that it does not name has no such bound.
	TenantWindows map[string]int
	// Interval between two rounds while jobs wait; default 200 ms.
	Interval time.Duration
	// Idle is the longest time between two rounds, for jobs that another gateway took in and left; default 5 s.
	Idle time.Duration
	// Batch is how many jobs of a lane are admitted in one transaction, which holds the store's only writer; default 32.
	Batch int
}

func (c *Config) setDefaults() {
	if c.Interval <= 0 {
		c.Interval = 200 * time.Millisecond
	}
	if c.Idle <= 0 {
		c.Idle = 5 * time.Second
	}
	if c.Batch <= 0 {
		c.Batch = 32
	}
}

// Deps of an Admitter.
type Deps struct {
	Store Store
	// Published is called when the outbox has new records.
	Published func()
	Metrics   Metrics
	Log       *slog.Logger
}

// Admitter admits jobs. Run it in one goroutine; any number of gateways may run one.
type Admitter struct {
	cfg    Config
	deps   Deps
	signal chan struct{}
}

// New refuses missing dependencies.
func New(cfg Config, deps Deps) (*Admitter, error) {
	if deps.Store == nil || deps.Published == nil || deps.Metrics == nil || deps.Log == nil {
		return nil, errors.New("making admitter: every dependency is required")
	}
	cfg.setDefaults()
	return &Admitter{cfg: cfg, deps: deps, signal: make(chan struct{}, 1)}, nil
}

// Wake tells the admitter that a job waits. It never blocks.
func (a *Admitter) Wake() {
	select {
	case a.signal <- struct{}{}:
	default:
	}
}

// Run admits until ctx ends. An error is tried again: the jobs stay where they are.
func (a *Admitter) Run(ctx context.Context) error {
	logged := false
	for {
		wait, err := a.Once(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !logged:
			a.deps.Log.WarnContext(ctx, "jobs that wait are not admitted; trying again", slog.Any("error", err))
		}
		logged = err != nil
		if wait > 0 {
			a.rest(ctx, wait)
		}
	}
}

// Once does one round over all lanes and returns how long the next one may wait.
func (a *Admitter) Once(ctx context.Context) (time.Duration, error) {
	wait := a.cfg.Idle
	var faults []error
	for _, lane := range event.Lanes() {
		next, err := a.lane(ctx, lane)
		wait = min(wait, next)
		faults = append(faults, err)
	}
	return wait, errors.Join(faults...)
}

func (a *Admitter) lane(ctx context.Context, lane string) (time.Duration, error) {
	waiting, err := a.deps.Store.Waiting(ctx, lane)
	if err != nil {
		return a.cfg.Interval, err
	}
	a.deps.Metrics.Waiting(ctx, lane, waiting)
	if waiting == 0 {
		return a.cfg.Idle, nil
	}
	n, err := a.deps.Store.Admit(ctx, store.Admission{
		Lane: lane, MaxWindows: a.cfg.Windows[lane], Limit: a.cfg.Batch, MaxTenantWindows: a.cfg.TenantWindows[lane], Record: func(job store.Job) (event.Record, error) {
			rec, err := outbox.JobRecord(ctx, job)
			if err != nil {
				a.deps.Log.ErrorContext(ctx, "a job that waited cannot be published", slog.String("job_id", job.ID), slog.Any("error", err))
			}
			return rec, err
		},
	})
	if err != nil {
		return a.cfg.Interval, err
	}
	if n > 0 {
		a.deps.Published()
	}
	if n == a.cfg.Batch { // there may be room for more
		return 0, nil
	}
	return a.cfg.Interval, nil
}

// rest returns after d, at a signal, or when ctx ends.
func (a *Admitter) rest(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-a.signal:
	case <-timer.C:
	}
}

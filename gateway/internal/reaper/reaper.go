package reaper

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/outbox"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Store is the part of the job store that the reaper uses; *store.SQL is one.
type Store interface {
	GiveUpOverdue(ctx context.Context, due, again time.Time, limit int) ([]string, error)
	GiveUpUnbegun(ctx context.Context, due, again time.Time, limit int) ([]string, error)
	Idle(ctx context.Context, since time.Time, limit int) ([]store.Idle, error)
	Get(ctx context.Context, id string) (store.Job, error)
	GiveUp(ctx context.Context, id string) error
	TakeUp(ctx context.Context, id string) error
	Republish(ctx context.Context, idle store.Idle, rec event.Record) (bool, error)
	Backlog(ctx context.Context, due time.Time) (store.Backlog, error)
}

var _ Store = (*store.SQL)(nil)

// Publisher writes records and returns once all are acknowledged.
type Publisher interface {
	Publish(ctx context.Context, recs ...event.Record) error
}

// Metrics of open jobs; *telemetry.LedgerMetrics is one.
type Metrics interface {
	Backlog(ctx context.Context, open, overdue int, oldest time.Duration)
	Republished(ctx context.Context)
}

var _ Metrics = (*telemetry.LedgerMetrics)(nil)

// Config of a Reaper; zero values mean the defaults.
type Config struct {
	// Interval between two rounds; default 5 s.
	Interval time.Duration
	// Grace is how long after a deadline or a cancel the stages may still end the job themselves; default 15 s.
	Grace time.Duration
	// Idle is how long an open job may stand still, while no stage has anything left to do, before it is published again; default 1 m.
	Idle time.Duration
	// Republish is how often a job is published again without a step forward before it is given up; default 3.
	Republish int
	// Batch is how many jobs one round looks after; default 100.
	Batch int
}

func (c *Config) setDefaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&c.Interval, 5*time.Second)
	set(&c.Grace, 15*time.Second)
	set(&c.Idle, time.Minute)
	if c.Republish <= 0 {
		c.Republish = 3
	}
	if c.Batch <= 0 {
		c.Batch = 100
	}
}

// again is when a job that was given up is given up once more if its outcomes have not been recorded by then.
const again = time.Minute

// Deps of a Reaper.
type Deps struct {
	Store     Store
	Publisher Publisher
	// Drained tells whether the stages and the recorder have finished every record that was there when it was called.
	Drained func(ctx context.Context) (bool, error)
	// Begun tells whether a stage is known to have begun a job; nil = of none.
	Begun func(id string) bool
	// Now tells the time of day; nil takes the machine's clock.
	Now func() time.Time
	// Wake is called when the outbox has new records.
	Wake    func()
	Metrics Metrics
	Log     *slog.Logger
}

// Reaper looks after open jobs. Run it in one goroutine; any number of gateways may run one.
type Reaper struct {
	cfg  Config
	deps Deps
}

// New refuses missing dependencies.
func New(cfg Config, deps Deps) (*Reaper, error) {
	if deps.Store == nil || deps.Publisher == nil || deps.Drained == nil || deps.Wake == nil || deps.Metrics == nil || deps.Log == nil {
		return nil, errors.New("making reaper: every dependency is required")
	}
	cfg.setDefaults()
	if deps.Now == nil {
		deps.Now = time.Now
	}
	return &Reaper{cfg: cfg, deps: deps}, nil
}

// Run does a round after every interval until ctx ends.
func (r *Reaper) Run(ctx context.Context) error {
	ticker := time.NewTicker(r.cfg.Interval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
		if err := r.Once(ctx); err != nil && ctx.Err() == nil {
			r.deps.Log.WarnContext(ctx, "looking after open jobs is incomplete; the next round tries again", slog.Any("error", err))
		}
	}
}

// Once does one round: it measures the open jobs, ends the overdue ones and publishes the lost ones again.
func (r *Reaper) Once(ctx context.Context) error {
	now := r.deps.Now()
	return errors.Join(r.measure(ctx, now), r.endOverdue(ctx, now), r.endUnbegun(ctx, now), r.reviveIdle(ctx, now))
}

func (r *Reaper) measure(ctx context.Context, now time.Time) error {
	b, err := r.deps.Store.Backlog(ctx, now.Add(-r.cfg.Grace))
	if err != nil {
		return err
	}
	var oldest time.Duration
	if !b.Oldest.IsZero() {
		oldest = max(0, now.Sub(b.Oldest))
	}
	r.deps.Metrics.Backlog(ctx, b.Open, b.Overdue, oldest)
	return nil
}

func (r *Reaper) endOverdue(ctx context.Context, now time.Time) error {
	due := now.Add(-r.cfg.Grace)
	ids, err := r.deps.Store.GiveUpOverdue(ctx, due, now.Add(-again), r.cfg.Batch)
	if err != nil {
		return err
	}
	var faults []error
	for _, id := range ids {
		faults = append(faults, r.end(ctx, id, func(j store.Job) event.Failure {
			if !j.CancelAsked.IsZero() && j.CancelAsked.Before(due) {
				return event.Failure{Code: event.CodeCancelled, Message: "job cancelled"}
			}
			return event.Failure{Code: event.CodeExpired, Message: "job past its deadline"}
		}))
	}
	return errors.Join(faults...)
}

// endUnbegun ends the jobs on which no work has begun in time. The chunker does so itself when it is given such a job.
func (r *Reaper) endUnbegun(ctx context.Context, now time.Time) error {
	ids, err := r.deps.Store.GiveUpUnbegun(ctx, now.Add(-r.cfg.Grace), now.Add(-again), r.cfg.Batch)
	if err != nil {
		return err
	}
	var faults []error
	for _, id := range ids {
		if r.deps.Begun != nil && r.deps.Begun(id) {
			continue
		}
		faults = append(faults, r.end(ctx, id, func(store.Job) event.Failure {
			return event.Failure{Code: event.CodeExpired, Message: "no work on the job had begun within start_within_s"}
		}))
	}
	return errors.Join(faults...)
}

// reviveIdle publishes again the jobs that stand still although no stage has anything left to do: their records are lost. A job waits in
// a backlog for as long as there is one.
func (r *Reaper) reviveIdle(ctx context.Context, now time.Time) error {
	jobs, err := r.deps.Store.Idle(ctx, now.Add(-r.cfg.Idle), r.cfg.Batch)
	if err != nil || len(jobs) == 0 {
		return err
	}
	if drained, err := r.deps.Drained(ctx); err != nil || !drained {
		return err
	}
	var faults []error
	for _, j := range jobs {
		faults = append(faults, r.revive(ctx, j))
	}
	r.deps.Wake()
	return errors.Join(faults...)
}

// revive publishes a job again, or ends it: one that was published too often, or whose owner wants nothing to be tried again.
func (r *Reaper) revive(ctx context.Context, idle store.Idle) error {
	job, err := r.deps.Store.Get(ctx, idle.ID)
	if err != nil {
		return err
	}
	if job.NoRetry || idle.Republished >= r.cfg.Republish {
		return r.end(ctx, idle.ID, func(store.Job) event.Failure {
			return event.Failure{Code: event.CodeInternal, Message: fmt.Sprintf("no stage ended the question although its job was published %d times", idle.Republished+1)}
		})
	}
	rec, err := outbox.JobRecord(ctx, job)
	if err != nil {
		return err
	}
	if done, err := r.deps.Store.Republish(ctx, idle, rec); err != nil || !done {
		return err
	}
	r.deps.Metrics.Republished(ctx)
	r.deps.Log.WarnContext(ctx, "job published again: its records are on no topic any more", slog.String("job_id", job.ID), slog.Int("time", idle.Republished+1))
	return nil
}

// end publishes an outcome for every question of the job, as a stage does that gives the job up as a whole: the recorder writes it for
// each window that has none. Going by the log, it comes after all answers that were published before it, and the first outcome stands.
// Where they could not be published, the next round tries again.
func (r *Reaper) end(ctx context.Context, id string, why func(store.Job) event.Failure) error {
	job, err := r.deps.Store.Get(ctx, id)
	if err != nil || job.State.Terminal() {
		return err
	}
	failure := why(job)
	outcomes, err := outbox.FailedOutcomes(ctx, job, failure)
	if err != nil {
		return err
	}
	if err := r.deps.Publisher.Publish(ctx, outcomes...); err != nil {
		return errors.Join(fmt.Errorf("ending job %s: %w", id, err), r.deps.Store.TakeUp(ctx, id))
	}
	r.deps.Log.InfoContext(ctx, "job ended by the gateway", slog.String("job_id", id), slog.String("code", failure.Code))
	return r.deps.Store.GiveUp(ctx, id)
}

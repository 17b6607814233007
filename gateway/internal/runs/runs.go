package runs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/rounds"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/source"
)

// Store is the part of the job store that runs use.
type Store interface {
	LeadRuns(ctx context.Context, owner string, until time.Time, limit int) ([]store.Run, error)
	RunItems(ctx context.Context, runID string, state store.ItemState, after, limit int) ([]store.Item, error)
	StartItems(ctx context.Context, runID string, starts []store.ItemStart, ends []store.ItemEnd, limits client.TenantLimits) (store.Started, error)
	Tenant(ctx context.Context, name string) (store.Tenant, error)
	Usage(ctx context.Context, tenant string, at time.Time) (store.Usage, error)
	EndedItems(ctx context.Context, runID string, limit int) ([]store.EndedItem, error)
	SettleItems(ctx context.Context, runID string, items []store.EndedItem) (int, error)
	PauseRun(ctx context.Context, id, reason string) (store.Run, error)
	NoteRun(ctx context.Context, id, reason string) error
	FinishRun(ctx context.Context, id string) (store.Run, error)
	UnchangedSince(ctx context.Context, runID, uri, sha256 string) (bool, error)
	Peek(ctx context.Context, id string) (store.Job, error)
}

// Sources opens audio where it lies.
type Sources interface {
	Open(ctx context.Context, uri string) (*source.Object, error)
}

// Config of a Controller; zero values mean the defaults.
type Config struct {
	// Interval between two rounds in which nothing happened; default 500 ms.
	Interval time.Duration
	// InFlight is how many items of one run are in hand at once; default 256.
	InFlight int
	// Batch is how many items one round starts of a run, and how many it settles at a time; default 64.
	Batch int
	// Readers is how many files are hashed at once; default 4.
	Readers int
	// Lead is how long a gateway leads a run without a word; default 30 s.
	Lead time.Duration
	// StalledAfter is how long no item may end before the run says so; default 1 min.
	StalledAfter time.Duration
	// MaxBytes is the size of the largest file.
	MaxBytes int64
}

func (c *Config) setDefaults() {
	set := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	set(&c.InFlight, 256)
	set(&c.Batch, 64)
	set(&c.Readers, 4)
	if c.Interval <= 0 {
		c.Interval = 500 * time.Millisecond
	}
	if c.Lead <= 0 {
		c.Lead = 30 * time.Second
	}
	if c.StalledAfter <= 0 {
		c.StalledAfter = time.Minute
	}
	if c.MaxBytes <= 0 {
		c.MaxBytes = 1 << 30
	}
}

// maxRuns is how many runs one gateway leads.
const maxRuns = 32

// Deps of a Controller.
type Deps struct {
	Store   Store
	Sources Sources
	// Cancel cancels a job as its owner does.
	Cancel func(ctx context.Context, job store.Job) error
	// Amount is what a cost is worth by the operator's prices; nil where there are none.
	Amount func(store.Cost) float64
	// Pool makes the vector of an item that was answered about, nil if there is none; nil where the model is not known, so that no item has one.
	Pool func(ctx context.Context, tenant string, it store.EndedItem) (*store.Vector, error)
	// Wake is called when jobs wait for admission.
	Wake func()
	// NewID makes ids of jobs, and the name by which this gateway leads runs.
	NewID func() string
	Log   *slog.Logger
}

// Controller works through runs. Run it in one goroutine; any number of gateways may run one.
type Controller struct {
	cfg  Config
	deps Deps
	name string
	loop *rounds.Loop
	now  func() time.Time
	// stalls are the runs with items in hand of which none has ended in the last round, by id, and since when that is so.
	stalls map[string]time.Time
}

// New refuses missing dependencies.
func New(cfg Config, deps Deps) (*Controller, error) {
	if deps.Store == nil || deps.Sources == nil || deps.Cancel == nil || deps.Wake == nil || deps.Log == nil {
		return nil, errors.New("making controller of runs: every dependency is required")
	}
	if deps.NewID == nil {
		deps.NewID = event.NewJobID
	}
	cfg.setDefaults()
	return &Controller{cfg: cfg, deps: deps, name: deps.NewID(), loop: rounds.New(cfg.Interval, "runs", deps.Log), now: time.Now, stalls: make(map[string]time.Time)}, nil
}

// Wake tells the controller that a run has changed. It never blocks.
func (c *Controller) Wake() { c.loop.Wake() }

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error { return c.loop.Run(ctx, c.Once) }

// Once does one round over all runs that this gateway leads, and tells whether any of them made a step.
func (c *Controller) Once(ctx context.Context) (busy bool, err error) {
	all, err := c.deps.Store.LeadRuns(ctx, c.name, c.now().Add(c.cfg.Lead), maxRuns)
	if err != nil {
		return false, err
	}
	maps.DeleteFunc(c.stalls, func(id string, _ time.Time) bool {
		return !slices.ContainsFunc(all, func(r store.Run) bool { return r.ID == id })
	})
	var faults []error
	for _, run := range all {
		step, err := c.step(ctx, run)
		busy = busy || step
		faults = append(faults, err)
	}
	return busy, errors.Join(faults...)
}

// step settles what has ended, starts what there is room for, and ends the run when nothing is left.
func (c *Controller) step(ctx context.Context, run store.Run) (busy bool, err error) {
	settled, err := c.settle(ctx, run)
	if err != nil {
		return false, err
	}
	started := 0
	switch run.State {
	case store.RunRunning:
		if reason := overLimit(run); reason != "" {
			_, err = c.deps.Store.PauseRun(ctx, run.ID, reason)
			break
		}
		room, spent := c.affordable(run, c.cfg.InFlight-run.Counts[store.ItemRunning]+settled)
		if spent != "" && settled == 0 && run.Counts[store.ItemRunning] == 0 {
			_, err = c.deps.Store.PauseRun(ctx, run.ID, spent)
			break
		}
		started, err = c.fill(ctx, run, room)
	case store.RunCancelling:
		err = c.cancel(ctx, run)
	}
	if err != nil {
		return false, err
	}
	if err := c.watch(ctx, run, settled+started > 0); err != nil {
		return false, err
	}
	if settled+started == 0 && run.Counts[store.ItemPending]+run.Counts[store.ItemRunning] == 0 {
		_, err = c.deps.Store.FinishRun(ctx, run.ID)
	}
	return settled+started > 0, err
}

// stalled begins the reason of a run of which no item ends.
const stalled = "waiting: no item has ended since "

// watch makes a run say so when none of the items in hand has ended for a while: a stage is down, or waits for a disk, a broker or a store. Nothing fails of it.
func (c *Controller) watch(ctx context.Context, run store.Run, moved bool) error {
	if moved || run.State != store.RunRunning || run.Counts[store.ItemRunning] == 0 {
		delete(c.stalls, run.ID)
		if strings.HasPrefix(run.Reason, stalled) {
			return c.deps.Store.NoteRun(ctx, run.ID, "")
		}
		return nil
	}
	since, ok := c.stalls[run.ID]
	if !ok {
		c.stalls[run.ID] = c.now()
		return nil
	}
	if c.now().Sub(since) < c.cfg.StalledAfter || run.Reason != "" {
		return nil
	}
	return c.deps.Store.NoteRun(ctx, run.ID, fmt.Sprintf("%s%s, with %d in hand: a stage is down or waits; lark_stage_members, lark_stage_paused and the logs of the stages tell which",
		stalled, since.UTC().Format(time.RFC3339), run.Counts[store.ItemRunning]))
}

// enoughToJudge is how many items have ended before the share of failures counts.
const enoughToJudge = 20

// overLimit says which limit the run has passed, "" none.
func overLimit(run store.Run) string {
	ended := run.Counts[store.ItemSucceeded] + run.Counts[store.ItemPartial] + run.Counts[store.ItemFailed]
	failed := run.Counts[store.ItemFailed]
	switch {
	case run.Counts[store.ItemPending] == 0:
		return "" // there is nothing left to save
	case run.Spec.MaxFailures > 0 && ended >= enoughToJudge && float64(failed) > run.Spec.MaxFailures*float64(ended):
		return fmt.Sprintf("%d of %d items have failed, more than the %g %% that the run allows: look at the failures, then resume or cancel", failed, ended, 100*run.Spec.MaxFailures)
	case run.Spec.MaxAudioS > 0 && run.AudioS > run.Spec.MaxAudioS:
		return fmt.Sprintf("%.0f s of audio were heard, more than the %.0f s that the run allows: resume or cancel", run.AudioS, run.Spec.MaxAudioS)
	}
	return ""
}

// firstItems is how many items of a run with a limit of its cost are in hand while none has ended that tells what an item costs.
const firstItems = 8

// affordable is how many more items may be started with room for so many, so that the run is not expected to spend more than it may: what its ended items
// have cost, and as much again for each in hand. spent says why there is none, "" if there is. Counts of run may be a step behind what is settled since,
// which makes the expectation too high for one round.
func (c *Controller) affordable(run store.Run, room int) (most int, spent string) {
	if run.Spec.MaxCost <= 0 || c.deps.Amount == nil || run.Counts[store.ItemPending] == 0 {
		return room, ""
	}
	so := c.deps.Amount(run.Cost)
	ended := run.Counts[store.ItemSucceeded] + run.Counts[store.ItemPartial] // failed items tell little: many of them have cost nothing
	if so > 0 {
		ended = max(ended, 1)
	}
	inHand := run.Counts[store.ItemRunning]
	most = min(room, max(firstItems, ended)-inHand) // no more are in hand than have told what they cost
	if ended > 0 && so > 0 {
		most = min(most, int(min(float64(c.cfg.InFlight), (run.Spec.MaxCost-so)*float64(ended)/so))-inHand)
	}
	if most <= 0 && inHand == 0 {
		return 0, fmt.Sprintf("%.6g were spent of the %.6g that the run may cost, and the next item would pass that: resume without the limit, or cancel", so, run.Spec.MaxCost)
	}
	return max(0, most), ""
}

// cancel cancels the jobs of the items in hand.
func (c *Controller) cancel(ctx context.Context, run store.Run) error {
	items, err := c.deps.Store.RunItems(ctx, run.ID, store.ItemRunning, 0, c.cfg.InFlight)
	if err != nil {
		return err
	}
	var faults []error
	for _, it := range items {
		job, err := c.deps.Store.Peek(ctx, it.JobID)
		if err == nil && !job.State.Terminal() && job.CancelAsked.IsZero() {
			err = c.deps.Cancel(ctx, job)
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			faults = append(faults, err)
		}
	}
	return errors.Join(faults...)
}

// copyBounded reads all of an object, at most limit bytes.
func copyBounded(ctx context.Context, to io.Writer, from io.Reader, limit int64) (int64, error) {
	n, err := io.Copy(to, io.LimitReader(&stoppable{ctx, from}, limit+1))
	if err == nil && n > limit {
		err = errTooLarge
	}
	return n, err
}

var errTooLarge = errors.New("the file is over the largest size")

// stoppable reads until ctx ends.
type stoppable struct {
	ctx context.Context //nolint:containedctx // io.Reader has no other way
	io.Reader
}

func (s *stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.Reader.Read(p)
}

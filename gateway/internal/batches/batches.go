package batches

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/openai"
	"github.com/larkstream/larkstream/gateway/internal/rounds"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// Store is the part of the job store that batches use.
type Store interface {
	LeadBatches(ctx context.Context, owner string, until time.Time, limit int) ([]store.Batch, error)
	AddBatchItems(ctx context.Context, id string, items []store.BatchItem) error
	ValidBatch(ctx context.Context, id string, total int, faults []store.BatchFault) (store.Batch, error)
	StopBatch(ctx context.Context, id string, state store.BatchState) (store.Batch, error)
	FinalizeBatch(ctx context.Context, id string) (store.Batch, error)
	EndBatch(ctx context.Context, id string, output, faults *store.File) (store.Batch, error)
	BatchItems(ctx context.Context, id string, after, limit int, states ...string) ([]store.BatchItem, error)
	EndedBatchItems(ctx context.Context, id string, limit int) ([]store.BatchItem, error)
	StartBatchItems(ctx context.Context, id string, starts []store.BatchStart, ends []store.BatchItem, limits client.TenantLimits) (store.Started, error)
	SettleBatchItems(ctx context.Context, id string, ends []store.BatchItem) error
	OutcomesOf(ctx context.Context, jobIDs []string) (map[string][]*eventpb.Outcome, error)
	Peek(ctx context.Context, id string) (store.Job, error)
	Tenant(ctx context.Context, name string) (store.Tenant, error)
	File(ctx context.Context, id string) (store.File, error)
}

// Blobs is the part of the object store that batches use.
type Blobs interface {
	LocalFile(ctx context.Context, key string) (path string, cleanup func(), err error)
	Put(ctx context.Context, key string, r io.Reader, limit int64) (int64, error)
}

// Jobs makes jobs of requests, and answers of jobs.
type Jobs interface {
	// BatchJob makes the job of a line, whose audio is then in the object store, to be done until a time. *client.Problem says what is wrong with the line.
	BatchJob(ctx context.Context, tenant store.Tenant, line io.Reader, until time.Time) (store.Job, error)
	// BatchAnswer is the answer to a request whose job has ended.
	BatchAnswer(job store.Job, outcomes []*eventpb.Outcome) (status int, body any)
}

// Config of a Controller; zero values mean the defaults.
type Config struct {
	// Interval between two rounds in which nothing happened; default 500 ms.
	Interval time.Duration
	// InFlight is how many requests of one batch are in hand at once; default 256.
	InFlight int
	// Page is how many requests one round starts of a batch, and how many it settles at a time; default 64.
	Page int
	// Readers is how many requests are read at once; default 4.
	Readers int
	// Lead is how long a gateway leads a batch without a word; default 30 s.
	Lead time.Duration
}

func (c *Config) setDefaults() {
	set := func(n *int, v int) {
		if *n <= 0 {
			*n = v
		}
	}
	set(&c.InFlight, 256)
	set(&c.Page, 64)
	set(&c.Readers, 4)
	if c.Interval <= 0 {
		c.Interval = 500 * time.Millisecond
	}
	if c.Lead <= 0 {
		c.Lead = 30 * time.Second
	}
}

// maxBatches is how many batches one gateway leads.
const maxBatches = 8

// Deps of a Controller.
type Deps struct {
	Store Store
	Blobs Blobs
	Jobs  Jobs
	// Cancel cancels a job as its owner does.
	Cancel func(ctx context.Context, job store.Job) error
	// Wake is called when jobs wait for admission.
	Wake func()
	// NewID makes the name by which this gateway leads batches; nil takes event.NewJobID.
	NewID func() string
	// SpoolDir is where results lie until they are whole; "" = the system's temporary folder.
	SpoolDir string
	Log      *slog.Logger
}

// Controller works through batches. Run it in one goroutine; any number of gateways may run one.
type Controller struct {
	cfg    Config
	deps   Deps
	name   string
	loop   *rounds.Loop
	now    func() time.Time
	inputs map[string]*input // by batch
}

// New refuses missing dependencies.
func New(cfg Config, deps Deps) (*Controller, error) {
	if deps.Store == nil || deps.Blobs == nil || deps.Jobs == nil || deps.Cancel == nil || deps.Wake == nil || deps.Log == nil {
		return nil, errors.New("making controller of batches: every dependency is required")
	}
	if deps.NewID == nil {
		deps.NewID = event.NewJobID
	}
	cfg.setDefaults()
	return &Controller{cfg: cfg, deps: deps, name: deps.NewID(), loop: rounds.New(cfg.Interval, "batches", deps.Log), now: time.Now, inputs: make(map[string]*input)}, nil
}

// Wake tells the controller that a batch has changed. It never blocks.
func (c *Controller) Wake() { c.loop.Wake() }

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	defer c.keep(nil)
	return c.loop.Run(ctx, c.Once)
}

// Once does one round over all batches that this gateway leads, and tells whether any of them made a step.
func (c *Controller) Once(ctx context.Context) (busy bool, err error) {
	all, err := c.deps.Store.LeadBatches(ctx, c.name, c.now().Add(c.cfg.Lead), maxBatches)
	if err != nil {
		return false, err
	}
	c.keep(all)
	var faults []error
	for _, b := range all {
		step, err := c.step(ctx, b)
		busy = busy || step
		if err != nil {
			faults = append(faults, fmt.Errorf("batch %s: %w", b.ID, err))
		}
	}
	return busy, errors.Join(faults...)
}

// step does what a batch needs in its state, and tells whether it went on.
func (c *Controller) step(ctx context.Context, b store.Batch) (busy bool, err error) {
	switch b.State {
	case store.BatchValidating:
		return true, c.validate(ctx, b)
	case store.BatchFinalizing:
		return true, c.finalize(ctx, b)
	}
	settled, err := c.settle(ctx, b)
	if err != nil {
		return false, err
	}
	b.Running -= settled
	started := 0
	switch {
	case b.State == store.BatchInProgress && c.now().After(b.Expires):
		_, err = c.deps.Store.StopBatch(ctx, b.ID, store.BatchExpiring)
		return true, err
	case b.State == store.BatchInProgress:
		started, err = c.fill(ctx, b)
	default:
		err = c.cancel(ctx, b)
	}
	if err != nil {
		return false, err
	}
	if settled+started == 0 && b.Pending+b.Running == 0 {
		_, err = c.deps.Store.FinalizeBatch(ctx, b.ID)
		return true, err
	}
	return settled+started > 0, err
}

// settle writes down the answers of requests whose jobs have ended.
func (c *Controller) settle(ctx context.Context, b store.Batch) (int, error) {
	ended, err := c.deps.Store.EndedBatchItems(ctx, b.ID, c.cfg.Page)
	if err != nil || len(ended) == 0 {
		return 0, err
	}
	ids := make([]string, len(ended))
	for i, it := range ended {
		ids[i] = it.JobID
	}
	outcomes, err := c.deps.Store.OutcomesOf(ctx, ids)
	if err != nil {
		return 0, err
	}
	for i := range ended {
		it := &ended[i]
		job, err := c.deps.Store.Peek(ctx, it.JobID)
		switch {
		case errors.Is(err, store.ErrNotFound):
			it.State, it.Line = store.BatchItemFailed, lineOf(b, *it, nil, &openai.LineError{Code: store.CodeJobDeleted, Message: "the job was deleted before the batch took its answer"})
			continue
		case err != nil:
			return 0, err
		}
		status, body := c.deps.Jobs.BatchAnswer(job, outcomes[it.JobID])
		switch {
		case status == http.StatusOK:
			it.State, it.Line = store.BatchItemCompleted, lineOf(b, *it, &openai.LineResponse{Status: status, RequestID: job.ID, Body: body}, nil)
		case !job.CancelAsked.IsZero() && b.State != store.BatchInProgress:
			it.State, it.Line = store.BatchItemLeft, ""
		default:
			it.State, it.Line = store.BatchItemFailed, lineOf(b, *it, &openai.LineResponse{Status: status, RequestID: job.ID, Body: body}, nil)
		}
	}
	return len(ended), c.deps.Store.SettleBatchItems(ctx, b.ID, ended)
}

// lineOf is what stands of a request in the output or in the errors.
func lineOf(b store.Batch, it store.BatchItem, response *openai.LineResponse, fault *openai.LineError) string {
	raw, err := json.Marshal(openai.ResultLine{ID: fmt.Sprintf("batch_req_%s_%d", b.ID, it.N), CustomID: it.CustomID, Response: response, Error: fault})
	if err != nil {
		panic(err) // unreachable: completions and errors have a form in JSON
	}
	return string(raw)
}

// cancel cancels the jobs of the requests in hand.
func (c *Controller) cancel(ctx context.Context, b store.Batch) error {
	items, err := c.deps.Store.BatchItems(ctx, b.ID, 0, c.cfg.InFlight, store.BatchItemRunning)
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

// fill starts pending requests as far as there is room, and returns how many are no longer pending.
func (c *Controller) fill(ctx context.Context, b store.Batch) (int, error) {
	room := min(c.cfg.InFlight-b.Running, c.cfg.Page)
	if room <= 0 || b.Pending == 0 {
		return 0, nil
	}
	tenant, err := c.deps.Store.Tenant(ctx, b.Tenant)
	if err != nil {
		return 0, err
	}
	file, err := c.input(ctx, b)
	if err != nil {
		return 0, err
	}
	items, err := c.deps.Store.BatchItems(ctx, b.ID, 0, room, store.BatchItemPending)
	if err != nil {
		return 0, err
	}
	jobs, faults := make([]store.Job, len(items)), make([]error, len(items))
	var group errgroup.Group
	group.SetLimit(c.cfg.Readers)
	for i, it := range items {
		group.Go(func() error {
			jobs[i], faults[i] = c.deps.Jobs.BatchJob(ctx, tenant, io.NewSectionReader(file, it.From, it.Bytes), b.Expires)
			return nil
		})
	}
	_ = group.Wait() // each tells for itself
	var starts []store.BatchStart
	var ends []store.BatchItem
	var waits error
	for i, it := range items {
		p, wrong := client.AsProblem(faults[i])
		switch {
		case faults[i] == nil:
			starts = append(starts, store.BatchStart{N: it.N, Job: jobs[i]})
		case wrong && p.Status < http.StatusInternalServerError && p.Status != http.StatusTooManyRequests && p.Status != http.StatusRequestTimeout:
			it.State = store.BatchItemFailed
			it.Line = lineOf(b, it, &openai.LineResponse{Status: openai.Status(p.Status), Body: openai.ErrorBody{Error: openai.Told(p)}}, nil)
			ends = append(ends, it)
		default:
			waits = faults[i] // it may go away: the request stays pending
		}
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	if len(starts)+len(ends) == 0 {
		return 0, waits
	}
	done, err := c.deps.Store.StartBatchItems(ctx, b.ID, starts, ends, tenant.Limits)
	if err != nil {
		return 0, err
	}
	c.deps.Wake()
	return done.Jobs + len(ends), waits
}

// input is the file of a batch on this machine.
type input struct {
	*os.File
	cleanup func()
}

// input opens the file of a batch, which stays open while this gateway leads the batch.
func (c *Controller) input(ctx context.Context, b store.Batch) (*input, error) {
	if in := c.inputs[b.ID]; in != nil {
		return in, nil
	}
	path, cleanup, err := c.deps.Blobs.LocalFile(ctx, store.FileKey(b.Spec.Input))
	if err != nil {
		return nil, err
	}
	f, err := os.Open(path)
	if err != nil {
		cleanup()
		return nil, fmt.Errorf("reading the file of the batch: %w", err)
	}
	c.inputs[b.ID] = &input{f, cleanup}
	return c.inputs[b.ID], nil
}

// keep closes the files of batches that are not among those given.
func (c *Controller) keep(led []store.Batch) {
	open := make(map[string]bool, len(led))
	for _, b := range led {
		open[b.ID] = !b.State.Terminal()
	}
	for id, in := range c.inputs {
		if !open[id] {
			_ = in.Close() // only read
			in.cleanup()
			delete(c.inputs, id)
		}
	}
}

// missing tells whether an error says that a file is gone.
func missing(err error) bool {
	return errors.Is(err, blob.ErrNotFound) || errors.Is(err, store.ErrFileNotFound)
}

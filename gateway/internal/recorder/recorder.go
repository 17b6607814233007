package recorder

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/gateway/internal/batch"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Source is the recorder's name as the sender of events.
const Source = event.StageRecorder

// Reasons why a record belongs to nothing.
const (
	strayUnknownJob = "unknown_job"
	strayOutside    = "outside_plan"
)

// Store is the part of the job store that the recorder writes. Record is called with up to 256
// entries, one call at a time; an error means that none of them was written. An error that wraps
// store.ErrRefused is the fault of an entry; any other error is the store's, and goes away.
type Store interface {
	Record(ctx context.Context, entries []store.Entry) ([]store.Recorded, error)
	Ledger(ctx context.Context) (store.Ledger, error)
	// Audit counts the stored outcomes of jobs that were not audited since before, and returns how many jobs it took.
	Audit(ctx context.Context, before time.Time, limit int) (int, error)
	// Adopt writes a job unless it is known.
	Adopt(ctx context.Context, job store.Job) (store.Adopted, error)
}

// Metrics of the ledger; *telemetry.LedgerMetrics is one.
type Metrics interface {
	// JobAccepted counts a job of another producer that was taken up.
	JobAccepted(ctx context.Context, tenant string)
	Outcome(ctx context.Context, tenant, state, code, cache string)
	JobEnded(ctx context.Context, tenant, state string, took time.Duration)
	Ledger(ctx context.Context, expected, recorded, unbalanced int)
	Stray(ctx context.Context, reason string)
}

var _ Metrics = (*telemetry.LedgerMetrics)(nil)

// Deps of a Recorder.
type Deps struct {
	Store   Store
	Metrics Metrics
	// JobsPending counts the records of lark.jobs.v1 that Handle has not been given yet. With it, Handle takes records of that
	// topic too and adopts jobs that other producers have published. Optional.
	JobsPending func(ctx context.Context) (int64, error)
	// Random gives random numbers of 64 bits for jitter; nil takes the process's generator.
	Random func() uint64
	Log    *slog.Logger
}

// Recorder handles records of lark.answers.v1. It is safe for concurrent use.
type Recorder struct {
	deps  Deps
	batch *batch.Batcher[store.Entry, store.Recorded]
	waits waits

	mu     sync.Mutex
	ledger store.Ledger
}

// New refuses missing dependencies.
func New(deps Deps) (*Recorder, error) {
	if deps.Store == nil || deps.Metrics == nil || deps.Log == nil {
		return nil, errors.New("making recorder: store, metrics and log are required")
	}
	if deps.Random == nil {
		deps.Random = rand.Uint64
	}
	return &Recorder{deps: deps, batch: newBatch(deps.Store)}, nil
}

// Handle is a stage.Handler: it returns once the plan or outcome is durable, with the events that
// tell of it. A record that comes again returns the same events again, because the process may have
// died between writing and telling.
func (r *Recorder) Handle(ctx context.Context, rec event.Record, msg proto.Message) (events []event.Record, err error) {
	switch m := msg.(type) {
	case *eventpb.Job:
		if r.deps.JobsPending != nil {
			return r.adopt(ctx, rec, m)
		}
	case *eventpb.WindowReady:
		return nil, nil // an evicted window on its way back to the chunker, on the topic of the jobs
	}
	entry, err := entryOf(msg)
	if err != nil {
		return nil, err
	}
	ctx, span := telemetry.Tracer().Start(ctx, telemetry.SpanRecord)
	defer func() { telemetry.End(span, err) }()
	res, err := r.write(ctx, entry)
	if err == nil && res.Unknown {
		res, err = r.unknown(ctx, entry)
	}
	if err != nil {
		return nil, err
	}
	r.count(ctx, res)
	return tell(res)
}

const (
	maxBatch     = 256
	writeTimeout = 30 * time.Second
)

func newBatch(s Store) *batch.Batcher[store.Entry, store.Recorded] {
	return batch.New(batch.Config[store.Entry, store.Recorded]{
		Max: maxBatch, Timeout: writeTimeout, Write: s.Record, Alone: func(err error) bool { return errors.Is(err, store.ErrRefused) },
	})
}

func entryOf(msg proto.Message) (store.Entry, error) {
	switch m := msg.(type) {
	case *eventpb.JobPlan:
		return store.Entry{Plan: m}, nil
	case *eventpb.Outcome:
		return store.Entry{Outcome: m}, nil
	}
	return store.Entry{}, fmt.Errorf("%w: %T is neither a plan nor an outcome", event.ErrUndecodable, msg)
}

// write records the entry once the store can.
func (r *Recorder) write(ctx context.Context, entry store.Entry) (res store.Recorded, err error) {
	err = r.persist(ctx, func() (err error) {
		res, err = r.batch.Do(ctx, entry)
		return err
	})
	return res, err
}

func (r *Recorder) count(ctx context.Context, res store.Recorded) {
	switch {
	case res.Unknown:
		r.deps.Metrics.Stray(ctx, strayUnknownJob)
	case res.Outside:
		r.deps.Metrics.Stray(ctx, strayOutside)
	}
	for _, o := range res.Outcomes[:res.New] {
		r.deps.Metrics.Outcome(ctx, res.Job.Tenant, store.OutcomeState(o.GetState()), o.GetError().GetCode(), store.CacheName(o.GetCache()))
	}
	if !res.JustEnded {
		return
	}
	r.deps.Metrics.JobEnded(ctx, res.Job.Tenant, string(res.Job.State), res.Job.Ended.Sub(res.Job.Created))
	if res.Missing != 0 {
		r.deps.Log.ErrorContext(ctx, "job ended with outcomes missing or too many",
			slog.String("job_id", res.Job.ID), slog.Int("expected", res.Job.Expected()), slog.Int("off_by", res.Missing))
	}
	r.addToLedger(ctx, res)
}

func (r *Recorder) addToLedger(ctx context.Context, res store.Recorded) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger.Expected += res.Job.Expected()
	r.ledger.Recorded += res.Job.Recorded()
	if res.Missing != 0 {
		r.ledger.Unbalanced++
	}
	r.deps.Metrics.Ledger(ctx, r.ledger.Expected, r.ledger.Recorded, r.ledger.Unbalanced)
}

const (
	// auditEvery is how often the stored outcomes of a job are counted after its end, when they are counted for the first time.
	auditEvery = 24 * time.Hour
	// auditPortion is how many jobs one transaction audits, auditMost how many one round does: what is left is for the next.
	auditPortion, auditMost = 200, 20_000
)

// Audit counts the outcomes of the jobs whose turn it is, reads the ledger from the store and publishes it as metrics. Between audits the
// recorder adds each job that ends.
func (r *Recorder) Audit(ctx context.Context) error {
	before := time.Now().Add(-auditEvery)
	for done := 0; done < auditMost; {
		n, err := r.deps.Store.Audit(ctx, before, auditPortion)
		if err != nil {
			return err
		}
		if done += n; n < auditPortion {
			break
		}
	}
	l, err := r.deps.Store.Ledger(ctx)
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger = l
	r.deps.Metrics.Ledger(ctx, l.Expected, l.Recorded, l.Unbalanced)
	if l.Unbalanced > 0 {
		r.deps.Log.ErrorContext(ctx, "ledger is out of balance", slog.Int("jobs", l.Unbalanced),
			slog.Int("expected", l.Expected), slog.Int("recorded", l.Recorded))
	}
	return nil
}

// tell makes the records of what was recorded: what the model is asked about the windows' answers, each outcome as it stands, then the end of the job.
// Times come from what is stored, so that telling twice makes the same events.
func tell(res store.Recorded) ([]event.Record, error) {
	var out []event.Record
	add := func(ev *eventpb.Event) error {
		rec, err := event.Encode(Source, ev)
		out = append(out, rec)
		return err
	}
	if res.Ask != nil {
		rec, err := event.Encode(Source, &eventpb.WindowReady{Task: res.Ask})
		if err != nil {
			return nil, err
		}
		out = append(out, res.Job.Own(rec))
	}
	for _, o := range res.Outcomes {
		err := add(&eventpb.Event{JobId: res.Job.ID, AtUnixMs: o.GetEndedUnixMs(), Body: &eventpb.Event_Outcome{Outcome: o}})
		if err != nil {
			return nil, err
		}
	}
	if !res.Job.State.Terminal() {
		return out, nil
	}
	j := res.Job
	err := add(&eventpb.Event{JobId: j.ID, AtUnixMs: j.Ended.UnixMilli(), Body: &eventpb.Event_Ended{Ended: &eventpb.JobEnded{
		State: string(j.State), Answered: uint32(j.Answered), Failed: uint32(j.Failed), Cancelled: uint32(j.Cancelled),
	}}})
	if err != nil {
		return nil, err
	}
	return out, nil
}

package outbox

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Store is the outbox table. Relay hands records to publish that no other relay is given meanwhile, and removes them if it succeeds.
type Store interface {
	Relay(ctx context.Context, limit int, publish func([]store.Outgoing) error) (int, error)
}

var _ Store = (*store.SQL)(nil)

// Publisher writes records and returns once all are acknowledged.
type Publisher interface {
	Publish(ctx context.Context, recs ...event.Record) error
}

// Config of a Relay; zero values mean the defaults.
type Config struct {
	// Batch is how many records are published at once; default 100.
	Batch int
	// PublishTimeout is how long the broker may take for a batch; default 30 s.
	PublishTimeout time.Duration
	// MinBackoff and MaxBackoff bound the wait after an error; default 100 ms and 5 s.
	MinBackoff, MaxBackoff time.Duration
	// Idle is the longest wait without a signal, for records left by another process that died;
	// default 5 s.
	Idle time.Duration
}

func (c *Config) setDefaults() {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	if c.Batch <= 0 {
		c.Batch = 100
	}
	set(&c.PublishTimeout, 30*time.Second)
	set(&c.MinBackoff, 100*time.Millisecond)
	set(&c.MaxBackoff, 5*time.Second)
	set(&c.Idle, 5*time.Second)
}

// Deps of a Relay.
type Deps struct {
	Store     Store
	Publisher Publisher
	// Random gives random numbers of 64 bits for jitter; nil takes the process's generator.
	Random func() uint64
	Log    *slog.Logger
}

// Relay moves records from the outbox to Kafka. Run it in one goroutine; any number of gateways may run one.
type Relay struct {
	cfg    Config
	deps   Deps
	signal chan struct{}
}

// New refuses missing dependencies.
func New(cfg Config, deps Deps) (*Relay, error) {
	if deps.Store == nil || deps.Publisher == nil || deps.Log == nil {
		return nil, errors.New("making outbox relay: store, publisher and log are required")
	}
	cfg.setDefaults()
	if deps.Random == nil {
		deps.Random = rand.Uint64
	}
	return &Relay{cfg: cfg, deps: deps, signal: make(chan struct{}, 1)}, nil
}

// Wake tells the relay that the outbox has new records. It never blocks.
func (r *Relay) Wake() {
	select {
	case r.signal <- struct{}{}:
	default:
	}
}

// Run publishes until ctx ends; errors are retried for ever, for the outbox is what survives them.
func (r *Relay) Run(ctx context.Context) error {
	backoff := time.Duration(0)
	for {
		n, err := r.step(ctx)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			if backoff == 0 {
				r.deps.Log.WarnContext(ctx, "outbox waits for the broker or the job store", slog.Any("error", err))
			}
			backoff = min(max(backoff*2, r.cfg.MinBackoff), r.cfg.MaxBackoff)
			r.wait(ctx, backoff/2+time.Duration(r.deps.Random()%uint64(backoff/2+1)), nil)
		case n < r.cfg.Batch:
			backoff = 0
			r.wait(ctx, r.cfg.Idle, r.signal)
		default:
			backoff = 0
		}
	}
}

// step moves one batch and returns its size.
func (r *Relay) step(ctx context.Context) (int, error) {
	return r.deps.Store.Relay(ctx, r.cfg.Batch, func(pending []store.Outgoing) error {
		records, end := traced(ctx, pending)
		ctx, cancel := context.WithTimeout(ctx, r.cfg.PublishTimeout)
		defer cancel()
		err := r.deps.Publisher.Publish(ctx, records...)
		end(err)
		if err != nil {
			return fmt.Errorf("publishing %d records of the outbox: %w", len(records), err)
		}
		return nil
	})
}

// traced gives each record a span of its sending, in the trace that the record was stored with: the time before it is the time in the outbox. A send
// that fails leaves no span, or an hour without a broker would leave hundreds in each trace.
func traced(ctx context.Context, pending []store.Outgoing) (records []event.Record, end func(error)) {
	records = make([]event.Record, len(pending))
	var spans []trace.Span
	for i, p := range pending {
		records[i] = p.Record
		jobCtx := telemetry.ExtractContext(ctx, p.Record.Headers)
		if !trace.SpanContextFromContext(jobCtx).IsValid() {
			continue
		}
		jobCtx, span := telemetry.Send(jobCtx, p.Record.Topic, 1, telemetry.AttrJobID.String(p.Record.Get(event.HeaderSubject)))
		records[i].Headers = telemetry.InjectHeaders(jobCtx, p.Record.Headers)
		spans = append(spans, span)
	}
	return records, func(err error) {
		for _, span := range spans {
			if err == nil {
				span.End()
			}
		}
	}
}

// wait returns after d, at a signal, or when ctx ends.
func (r *Relay) wait(ctx context.Context, d time.Duration, signal <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-signal:
	case <-timer.C:
	}
}

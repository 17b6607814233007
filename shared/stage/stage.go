package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Handler does the work of a stage on one record and returns the records to publish. rec.Topic is
// the topic that the record was first written to, also when it comes back from a retry topic. msg is the
// record's message, decoded and validated. It belongs to the handler, which may change it: each attempt gets a
// message of its own.
type Handler func(ctx context.Context, rec event.Record, msg proto.Message) ([]event.Record, error)

// Config is the user's part of a runner. Zero values mean the defaults.
type Config struct {
	// Stage names the runner in topics, headers, metrics and outcomes.
	Stage string
	// Topics to consume, beside the stage's own retry topics of the lanes of these topics (see event.LaneOf).
	Topics []string
	// Group is the consumer group, "lark.<stage>" by default.
	Group string
	// Concurrency is how many handlers run at once. Default 4.
	Concurrency int
	// BulkTurn is after how many interactive records a bulk record is the next to start, when both wait: the share that bulk records always have.
	// Default 9.
	BulkTurn int
	// Unordered lets records of one key run at the same time. Set it for a stage whose records do not depend on each other.
	Unordered bool
	// MaxInFlightRecords bounds the records that are worked on and not yet finished. Default 64. Of one key it is one record at
	// a time, unless Unordered is set. A tenant leaves an eighth of its lane's to others.
	MaxInFlightRecords int
	// QueueRecords bounds the records of each partition that are queued or in flight, which are 1 MiB at most. Default 256, or MaxInFlightRecords if that is more.
	// Besides, about 2.3 MiB of records that are read and not yet queued wait in each partition, and 4 MiB in one fetch.
	QueueRecords int
	// MaxInFlightBytes bounds the sum of Deps.Cost over the records in flight. Default 256 MiB. A
	// record that costs more than that runs alone.
	MaxInFlightBytes int64
	// ReservedBytes of MaxInFlightBytes are for interactive records alone. Default an eighth. Of MaxInFlightRecords it is an eighth, unless
	// bulk records could not use Concurrency then.
	ReservedBytes int64
	// Output is the topic that the next stage reads. While MaxAhead of its records in one lane are unread there, no more records of that lane
	// are begun. 0 sets no bound.
	Output   string
	MaxAhead int64
	// Attempts is how often a record is tried in place. Default 3.
	Attempts int
	// Backoff is the wait before the second attempt; it doubles, with jitter. Default 200 ms.
	Backoff time.Duration
	// RetryDelays are the delays of the retry topics, shortest first. Default 5 s, 1 m, 10 m.
	RetryDelays []time.Duration
	// Partitions is how many partitions the retry topics have at least. 0 makes new ones with 8 and lets others be.
	Partitions int
	// KeepFinished bounds the finished records that each partition of the topics keeps, beside their age. 0 sets no bound.
	KeepFinished int64
	// DrainTimeout bounds how long Run takes to end after its context is cancelled. Default 30 s. Running handlers may
	// use three quarters of this time; then their context ends.
	DrainTimeout time.Duration
	// HandlerTimeout bounds one attempt on a record. Default 1 h. An attempt that takes longer counts as one that failed, with the code
	// "timeout".
	HandlerTimeout time.Duration
	// IgnoreDeadlines is for a stage that writes down what has become of jobs: it handles a record also after its job's deadline.
	IgnoreDeadlines bool
}

// Deps are what the process hands in.
type Deps struct {
	Kafka    kafka.Config
	Handle   Handler
	Producer Publisher
	Log      *slog.Logger
	// Cost is the memory in bytes that handling a record may need; nil counts its size on the wire.
	Cost func(event.Record) int64
	// Marks keeps what is in hand across a death of the process, so that a record which kills its stage is given up; nil gives
	// up none.
	Marks *blob.Store
	// Control tells of cancelled jobs; nil for a stage whose work cannot be cancelled.
	Control *Control
	// Random gives random numbers of 64 bits, for jitter; it may be called by several goroutines. nil takes the process's generator.
	Random func() uint64
	// Now tells the time of day, by which deadlines and the times in records are read and written; nil takes the machine's clock.
	Now func() time.Time
	// Model stands in failed outcomes as the model that was to answer.
	Model string
}

// Causes of the end of a handler's context, see context.Cause.
var (
	// ErrCancelled: the user cancelled the job.
	ErrCancelled = errors.New("job cancelled")
	// ErrExpired: the job's deadline has passed.
	ErrExpired = errors.New("job past its deadline")
	// ErrRevoked: the partition now belongs to another instance.
	ErrRevoked = errors.New("partition revoked")
	// ErrTimedOut: the attempt took longer than Config.HandlerTimeout.
	ErrTimedOut = errors.New("handler took too long")
	// ErrStopping: the drain's time is over.
	ErrStopping = errors.New("stage stopping")
)

// Runner is one instance of a stage: it takes partitions from the consumer group, feeds their records through an admitter
// and a processor, and gives the partitions back in good order. Make it with New; Run it once.
type Runner struct {
	cfg  Config
	deps Deps
	log  *slog.Logger

	metrics *telemetry.StageMetrics
	retries retryTopics
	chance  chance
	read    *taskReader
	admit   *admitter
	breaker *breaker
	work    sync.WaitGroup // feeders and key queues

	client   *kgo.Client
	opened   chan struct{} // closed when client is set: the group's callbacks may come before that
	assigned assignment
	joined   atomic.Bool // the group has given partitions, perhaps none
	pulse    *kafka.Pulse
	started  atomic.Bool
}

// New checks the configuration and the dependencies; it does not connect.
func New(c Config, d Deps) (*Runner, error) {
	c = c.withDefaults()
	if err := errors.Join(c.validate(), d.validate()); err != nil {
		return nil, fmt.Errorf("making stage %s: %w", c.Stage, err)
	}
	r := &Runner{pulse: kafka.NewPulse(), opened: make(chan struct{}), cfg: c, deps: d, chance: d.Random, log: d.Log.With("stage", c.Stage), retries: newRetryTopics(c.Stage, c.Topics, c.RetryDelays)}
	r.retries.clock = d.Now
	r.read = newTaskReader(c.Topics, r.retries, d.Cost)
	r.metrics = telemetry.NewStageMetrics()
	handle := r.newProcessor(r.metrics)
	r.breaker = handle.breaker
	handle.events, _ = d.Producer.(emitter)
	r.admit = newAdmitter(c, d.Control, r.metrics, &r.work, handle.process)
	return r, nil
}

func (r *Runner) newProcessor(metrics *telemetry.StageMetrics) *processor {
	c, d := r.cfg, r.deps
	return &processor{
		stage: c.Stage, group: c.Group, backoff: c.Backoff, timeout: c.HandlerTimeout, handler: d.Handle, control: d.Control, late: c.IgnoreDeadlines, log: r.log, metrics: metrics,
		slots: newGate(int64(c.Concurrency), int64(c.Concurrency), c.BulkTurn), concurrency: int64(c.Concurrency), breaker: newBreaker(c.Stage, r.log, metrics),
		settler: &settler{
			stage: c.Stage, model: d.Model, attempts: c.Attempts, retries: r.retries, chance: r.chance, log: r.log, metrics: metrics,
			out: &persistentPublisher{stage: c.Stage, out: d.Producer, chance: r.chance, log: r.log, metrics: metrics},
		},
	}
}

func (c Config) withDefaults() Config {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&c.Concurrency, 4)
	def(&c.MaxInFlightRecords, max(64, 2*c.Concurrency))
	def(&c.QueueRecords, max(queueRecords, c.MaxInFlightRecords))
	def(&c.BulkTurn, bulkTurn)
	def(&c.Attempts, 3)
	if c.MaxInFlightBytes == 0 {
		c.MaxInFlightBytes = 256 << 20
	}
	if c.ReservedBytes == 0 {
		c.ReservedBytes = c.MaxInFlightBytes / 8
	}
	if c.Backoff == 0 {
		c.Backoff = 200 * time.Millisecond
	}
	if len(c.RetryDelays) == 0 {
		c.RetryDelays = event.RetryDelays()
	}
	if c.DrainTimeout == 0 {
		c.DrainTimeout = 30 * time.Second
	}
	if c.HandlerTimeout == 0 {
		c.HandlerTimeout = time.Hour
	}
	if c.Group == "" {
		c.Group = event.Group(c.Stage)
	}
	return c
}

// bulkRecords is how many records in flight bulk records may be.
func (c Config) bulkRecords() int64 { return c.leaving(c.MaxInFlightRecords) }

// leaving is what is left of n records in flight when an eighth is left to others, but no less than Concurrency.
func (c Config) leaving(n int) int64 { return int64(min(n, max(n-n/8, c.Concurrency))) }

func (c Config) validate() error {
	var errs []error
	need := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	need(c.Stage != "", "stage: no name")
	need(len(c.Topics) > 0, "topics: none")
	need(c.Concurrency > 0, "concurrency: %d is not positive", c.Concurrency)
	need(c.BulkTurn > 0, "bulk_turn: %d is not positive", c.BulkTurn)
	need(c.MaxInFlightRecords > 0, "max_in_flight_records: %d is not positive", c.MaxInFlightRecords)
	need(c.QueueRecords > 0, "queue_records: %d is not positive", c.QueueRecords)
	need(c.MaxInFlightBytes > 0, "max_in_flight_bytes: %d is not positive", c.MaxInFlightBytes)
	need(c.ReservedBytes >= 0 && c.ReservedBytes < c.MaxInFlightBytes, "reserved_bytes: %d is not below max_in_flight_bytes", c.ReservedBytes)
	need(c.MaxAhead == 0 || event.StageOf(c.Output) != "", "output: no stage reads %q", c.Output)
	need(c.Attempts > 0, "attempts: %d is not positive", c.Attempts)
	need(c.Partitions >= 0, "partitions: %d is below 0", c.Partitions)
	need(c.Backoff > 0, "backoff: %s is not positive", c.Backoff)
	need(c.HandlerTimeout > 0, "handler_timeout: %s is not positive", c.HandlerTimeout)
	need(c.DrainTimeout > 0, "drain_timeout: %s is not positive", c.DrainTimeout)
	for i, d := range c.RetryDelays {
		need(d > 0 && (i == 0 || d > c.RetryDelays[i-1]), "retry_delays: %s is not longer than the one before", d)
	}
	return errors.Join(errs...)
}

func (d Deps) validate() error {
	var errs []error
	if d.Handle == nil {
		errs = append(errs, errors.New("no handler given"))
	}
	if d.Producer == nil {
		errs = append(errs, errors.New("no producer given"))
	}
	if d.Log == nil {
		errs = append(errs, errors.New("no logger given"))
	}
	return errors.Join(append(errs, d.Kafka.Validate())...)
}

// brokerSilence is how long no broker may answer while the stage is ready: by then, the group has given its partitions to others.
const brokerSilence = sessionTimeout + 5*time.Second

// Ready is nil once the runner has joined its group and knows which jobs are cancelled, and while a broker answers.
func (r *Runner) Ready() error {
	if !r.joined.Load() {
		return fmt.Errorf("stage %s has not joined group %s", r.cfg.Stage, r.cfg.Group)
	}
	if silence := r.pulse.Silence(); silence > brokerSilence {
		return fmt.Errorf("stage %s has had no answer from Kafka at %s for %s: see whether the brokers run and can be reached",
			r.cfg.Stage, strings.Join(r.deps.Kafka.Brokers, ", "), silence.Round(time.Second))
	}
	if r.deps.Control != nil {
		return r.deps.Control.Ready()
	}
	return nil
}

// Degraded says that the stage pauses because something that it needs does not answer, and why; nil while it works.
func (r *Runner) Degraded() error { return r.breaker.degraded() }

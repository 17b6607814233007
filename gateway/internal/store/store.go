package store

import (
	"errors"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// State of a job.
type State string

// States of a job.
const (
	Queued     State = event.JobQueued
	Running    State = event.JobRunning
	Cancelling State = event.JobCancelling
	Succeeded  State = event.JobSucceeded
	Partial    State = event.JobPartial
	Failed     State = event.JobFailed
	Cancelled  State = event.JobCancelled
)

// Terminal tells whether a job in this state has ended.
func (s State) Terminal() bool { return event.Terminal(string(s)) }

// Errors that callers tell apart.
var (
	ErrNotFound    = errors.New("job not found")
	ErrOpen        = errors.New("job has not ended")
	ErrTooManyJobs = errors.New("too many open jobs")
	ErrKeyInFlight = errors.New("idempotency key is in use by a request in flight")
	// ErrFull says that the disk of the database is full.
	ErrFull = errors.New("the disk of the job store is full")
	// ErrUnavailable says that the database cannot be reached or cannot be written at the moment. A transaction that ends with it may have been
	// committed all the same: the connection may have been lost after that.
	ErrUnavailable  = errors.New("the job store cannot be reached")
	ErrClaimExpired = errors.New("idempotency claim has lapsed")
	// ErrRefused says that the database works but does not take this record, now or later. Any other error of a write may go away: the
	// disk is full, the database is busy, read-only or out of reach.
	ErrRefused = errors.New("job store refuses the record")
)

// Window is one window of a job's plan.
type Window struct {
	Index  int
	Hash   string
	Span   event.Span
	HeardS float64
	// Warnings are the codes of the damage that lies in it.
	Warnings []string
}

// Job is what the store knows of a job. Times are zero while they have not come.
type Job struct {
	// JobSpec is what was asked for. Its Questions are filled by Get only.
	event.JobSpec
	// Tenant is whose job it is. Isolated: it was when the job was made, so that the stages keep what they make of it for this tenant alone.
	Tenant        string
	Isolated      bool
	State         State
	TraceID       string
	QuestionCount int
	WindowCount   int
	DurationS     float64

	Answered, Failed, Cancelled int

	Planned, FirstOutcome, CancelAsked, Ended time.Time

	// Labels select jobs in lists; Metadata is the caller's own.
	Labels, Metadata map[string]string
	// Hook is told of the job's end; nil = nobody beside the endpoints of its tenant.
	Hook *client.JobWebhook
	// RunID and BatchID name the run or the batch that made the job; its end is told, and not that of each of its jobs.
	RunID, BatchID string
	// Cost is the sum over the outcomes that the job has so far.
	Cost Cost

	// Faults of the track; known with the plan.
	event.Faults

	// Windows are filled by Get only.
	Windows []Window
	// WindowsDone counts the windows whose questions have all ended. CacheHits counts the windows with an outcome whose embedding was
	// cached. Get alone fills both.
	CacheHits, WindowsDone int

	// lastSeq is the highest number that an outcome of the job has been given. A number is never given twice, also not after its outcome was
	// dropped: a reader of pages may have passed it.
	lastSeq int
	// adopted: another producer published the job.
	adopted bool
	// Waiting: the job has not been admitted to Kafka, and no stage knows of it.
	Waiting bool
}

// NewJob is a job that a tenant has just asked for.
func NewJob(tenant string, spec event.JobSpec, traceID string) Job {
	return Job{JobSpec: spec, Tenant: tenant, State: Queued, TraceID: traceID, QuestionCount: len(spec.Questions)}
}

// Own gives a record about the job to its tenant.
func (j Job) Own(rec event.Record) event.Record {
	rec = event.OfTenant(rec, j.Tenant)
	if j.Isolated {
		rec = event.Isolated(rec)
	}
	return rec
}

// Recorded counts the job's terminal outcomes.
func (j Job) Recorded() int { return j.Answered + j.Failed + j.Cancelled }

// Expected is how many outcomes the job must have in the end; 0 while the plan is unknown.
func (j Job) Expected() int { return j.WindowCount * j.QuestionCount }

// Claim is a caller's hold on an idempotency key while its request is handled. The zero Claim
// stands for a request without a key.
type Claim struct {
	Tenant string
	Key    string
	Owner  string
}

// ListQuery selects jobs of a tenant, newest first.
type ListQuery struct {
	Tenant string
	State  State  // "" = any
	Lane   string // "" = any
	// Since and Until bound the time of creation; zero = open.
	Since, Until time.Time
	// Label is the name of a label whose value must be LabelValue; "" = any job.
	Label, LabelValue string
	After             Place // of the last job seen; zero = from the newest
	Limit             int
}

// Cost is what an outcome or a job has cost.
type Cost struct {
	// AudioS are the seconds of audio heard, and EncoderS the encoder's work on it, which is 0 where the embedding was known. The outcomes of a window
	// share both.
	AudioS, EncoderS           float64
	PromptTokens, OutputTokens int64
}

// CostOf is what an outcome of a job with so many questions has cost.
func CostOf(o *eventpb.Outcome, questions int) Cost {
	share := 1 / float64(max(1, questions))
	c := Cost{
		AudioS: o.GetWindow().GetHeardS() * share, PromptTokens: int64(o.GetTokens().GetPrompt()), OutputTokens: int64(o.GetTokens().GetOutput()),
	}
	if o.GetCache() != eventpb.Cache_CACHE_HIT {
		c.EncoderS = o.GetTimings().GetEncodeMs() / 1000 * share
	}
	return c
}

// Plus is the sum of two costs.
func (c Cost) Plus(d Cost) Cost {
	return Cost{c.AudioS + d.AudioS, c.EncoderS + d.EncoderS, c.PromptTokens + d.PromptTokens, c.OutputTokens + d.OutputTokens}
}

// Place is where a job stands in the list: by its time, which is kept to the millisecond, then by its id.
type Place struct {
	Created time.Time
	ID      string
}

// Outgoing is a record waiting in the outbox.
type Outgoing struct {
	ID      string
	Record  event.Record
	Created time.Time
}

// Entry is one record of lark.answers.v1 to be recorded: a plan or an outcome.
type Entry struct {
	Plan    *eventpb.JobPlan
	Outcome *eventpb.Outcome
}

func (e Entry) jobID() string {
	if e.Plan != nil {
		return e.Plan.GetJobId()
	}
	return e.Outcome.GetJobId()
}

// Recorded says what an Entry changed.
type Recorded struct {
	// Unknown: no such job in this store. Outside: the outcome names a question or window that the
	// job does not have. Nothing was written in either case.
	Unknown, Outside bool
	// Outcomes are what the store now holds for this entry. Usually that is the entry's own outcome. It is an earlier outcome if one had been
	// recorded for the same question and window. It is one outcome per open window if a stage gave the whole job up after planning.
	Outcomes []*eventpb.Outcome
	// New is how many of Outcomes were written now. They come first; the others had been written before.
	New int
	// Ask is a task for the model: its questions are those of the job whose answers no rule combines, about the windows' answers. Nil where nothing
	// is to be asked. It comes again with each entry until it is answered, but with the answers themselves.
	Ask *eventpb.Task
	// JustEnded: this entry completed the job.
	JustEnded bool
	// Missing is set for an entry that completed the job: the difference between the number of stored outcomes and the number expected. The
	// ledger's law says 0.
	Missing int
	// Job after the entry, without Questions and Windows.
	Job Job
}

// Combined is the index of the window that stands for the whole track, where the job's answers are combined; -1 where they are not. No plan has it;
// every question has an outcome there too.
func (j Job) Combined() int {
	if !j.Combine || j.WindowCount < 3 { // two windows and the track
		return -1
	}
	return j.WindowCount - 1
}

// Ledger sums the outcomes of the jobs that have ended: Expected must equal Recorded, job by job.
type Ledger struct {
	EndedJobs, OpenJobs int
	Expected, Recorded  int
	// Unbalanced counts the ended jobs whose stored outcomes are not as many as expected.
	Unbalanced int
}

package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/batch"
	"github.com/larkstream/larkstream/shared/event"
)

const (
	// createBatch is how many jobs one transaction creates at most.
	createBatch   = 256
	createTimeout = 30 * time.Second
)

// CreateOptions are the conditions under which a job is accepted.
type CreateOptions struct {
	// Claim is the hold on the request's idempotency key; it becomes the key's permanent answer.
	Claim       Claim
	Fingerprint string
	// KeepUntil is when the key may be forgotten.
	KeepUntil time.Time
	// MaxOpen refuses the job with ErrTooManyJobs when that many jobs of its lane made by Create are open; 0 = no limit. Adopted jobs do not count:
	// a catalogue fed by another producer must not shut people out.
	MaxOpen int
	// MaxWindows is how many windows of the job's lane may be in Kafka; 0 = no bound. With more, the job waits until Admit takes it.
	MaxWindows int
	// MaxTenantWindows is the same for the windows of its tenant in that lane.
	MaxTenantWindows int
	// Limits of the job's tenant refuse the job with a *LimitError.
	Limits client.TenantLimits
	// UploadBytes are the bytes of audio that were sent for the job.
	UploadBytes int64
	// Audit is who submits the job and from where; its target is the job. nil writes nothing.
	Audit *Audit
}

// turnOf is who takes turns with others while the job waits; the column submitter holds it.
func turnOf(j Job) string { return j.Tenant }

// creation is one call of Create.
type creation struct {
	job    Job
	outbox []event.Record
	opts   CreateOptions
}

func (s *SQL) newCreates() *batch.Batcher[creation, error] {
	return batch.New(batch.Config[creation, error]{
		Max: createBatch, Timeout: createTimeout, Write: s.createTogether,
		Alone: func(err error) bool { return s.dialect.kind(err) == refusedRow },
	})
}

// Create writes the job, its questions and the outbox records in one transaction, so that neither
// the job nor its publication can exist without the other. Calls at the same time share a transaction. A job for which the lane has no room waits,
// and its records are not written.
func (s *SQL) Create(ctx context.Context, job Job, outbox []event.Record, opts CreateOptions) error {
	refusal, err := s.creates.Do(ctx, creation{job: job, outbox: outbox, opts: opts})
	if err = errors.Join(refusal, err); err != nil {
		return fmt.Errorf("creating job %s: %w", job.ID, err)
	}
	return nil
}

// createTogether returns why each job was not made, nil if it was. An error means that none was.
func (s *SQL) createTogether(ctx context.Context, calls []creation) (refusals []error, err error) {
	err = s.inTx(ctx, func(tx *tx) error {
		refusals = make([]error, len(calls))
		c := &creating{tx: tx, now: s.now(), lanes: make(map[string]*laneState), audio: make(map[[2]string]bool)}
		for _, lane := range lanesOf(calls) {
			state, err := lockLane(ctx, tx, lane)
			if err != nil {
				return err
			}
			c.lanes[lane] = state
		}
		if err := c.lockTenants(ctx, calls); err != nil {
			return err
		}
		for i, call := range calls {
			var err error
			if refusals[i], err = c.add(ctx, call); err != nil {
				return err
			}
		}
		return c.write(ctx)
	})
	return refusals, err
}

// lanesOf are the lanes of the jobs, always in the same order, in which their rows are locked.
func lanesOf(calls []creation) (lanes []string) {
	found := make(map[string]bool)
	for _, call := range calls {
		found[laneOf(call.job)] = true
	}
	for _, lane := range event.Lanes() {
		if found[lane] {
			lanes = append(lanes, lane)
		}
	}
	return lanes
}

// creating is one transaction that creates jobs.
type creating struct {
	tx    *tx
	now   time.Time
	lanes map[string]*laneState
	// usage is what the tenants with limits have used, this transaction's jobs among it; sent is what this transaction adds, of all tenants.
	usage map[string]*Usage
	sent  map[string]Usage

	jobs, questions, labels, outbox, audit [][]any
	audio                                  map[[2]string]bool // noted whose it is, by tenant and digest
}

// add takes a job into the transaction, or says why it is refused.
func (c *creating) add(ctx context.Context, call creation) (refusal, err error) {
	job, opts, lane := call.job, call.opts, c.lanes[laneOf(call.job)]
	if opts.MaxOpen > 0 && lane.open >= opts.MaxOpen {
		return ErrTooManyJobs, nil
	}
	if used := c.usage[job.Tenant]; used != nil {
		if refusal := used.Check(opts.Limits, expectedWindows(job), opts.UploadBytes); refusal != nil {
			return refusal, nil
		}
	}
	if err := settleClaim(ctx, c.tx, job.ID, opts); errors.Is(err, ErrClaimExpired) {
		return err, nil
	} else if err != nil {
		return nil, err
	}
	room, err := lane.hasRoom(ctx, c.tx, turnOf(job), opts)
	if err != nil {
		return nil, err
	}
	job.Waiting = !room
	if err := c.rows(job, opts); err != nil {
		return nil, err
	}
	if owner := [2]string{job.Tenant, job.Audio.SHA256}; !c.audio[owner] {
		c.audio[owner] = true
		if err := ownAudio(ctx, c.tx, job.Tenant, job.Audio.SHA256, c.now); err != nil {
			return nil, err
		}
	}
	lane.open++
	lane.added++
	c.use(job, opts.UploadBytes)
	if !room {
		return nil, lane.wait(ctx, c.tx, turnOf(job))
	}
	lane.take(turnOf(job), expectedWindows(job))
	rows, err := outboxRows(call.outbox, job.Created)
	c.outbox = append(c.outbox, rows...)
	return nil, err
}

// rows adds the rows of a job, without its outbox records.
func (c *creating) rows(job Job, opts CreateOptions) error {
	row, err := jobRow(job, c.now)
	if err != nil {
		return err
	}
	c.jobs = append(c.jobs, row)
	c.questions = append(c.questions, questionRows(job)...)
	for name, value := range job.Labels {
		c.labels = append(c.labels, []any{job.ID, name, value})
	}
	if opts.Audit == nil {
		return nil
	}
	entry := *opts.Audit
	entry.Target = "/v1/jobs/" + job.ID
	row, err = auditRow(entry, c.now)
	c.audit = append(c.audit, row)
	return err
}

func (c *creating) write(ctx context.Context) error {
	for _, table := range []struct {
		into string
		rows [][]any
	}{
		{insertJob, c.jobs}, {insertQuestion, c.questions}, {`job_labels (job_id, name, value)`, c.labels}, {insertOutbox, c.outbox}, {insertAudit, c.audit},
	} {
		if _, err := c.tx.insert(ctx, table.into, table.rows, ""); err != nil {
			return err
		}
	}
	for _, lane := range event.Lanes() {
		if state := c.lanes[lane]; state != nil && state.added > 0 {
			if err := countOpen(ctx, c.tx, lane, state.added); err != nil {
				return err
			}
		}
	}
	return noteUse(ctx, c.tx, c.now, c.sent)
}

// openJobs names the counter of a lane's open jobs that Create made. It is kept with each job's first and last write, because counting the rows
// would take longer the more jobs are open. Its row is also the lock of the lane.
func openJobs(lane string) string {
	if lane == event.LaneBulk {
		return "open_jobs.bulk"
	}
	return "open_jobs"
}

func countOpen(ctx context.Context, tx *tx, lane string, n int) error {
	_, err := tx.exec(ctx, `UPDATE counters SET n = n + ? WHERE name = ?`, n, openJobs(lane))
	return err
}

const (
	insertJob      = `jobs (` + jobColumns + `, active_ms, lane, submitter, expected_windows, expected_s, start_by_ms)`
	insertQuestion = `questions (job_id, idx, text)`
)

func jobRow(j Job, now time.Time) ([]any, error) {
	spans, err := json.Marshal(j.Spans)
	if err != nil {
		return nil, err
	}
	decode, err := json.Marshal(j.Decode)
	if err != nil {
		return nil, err
	}
	options, err := json.Marshal(j.Options)
	if err != nil {
		return nil, err
	}
	at := now
	if j.Waiting {
		at = time.Time{}
	}
	return []any{
		j.ID, string(Queued), j.Audio.SHA256, audioPlace(j.Audio), j.Audio.Bytes, j.Audio.Name, j.Plan, string(spans), string(decode),
		j.TraceID, len(j.Questions), 0, 0.0, 0, 0, 0,
		millis(j.Created), millis(j.Deadline), 0, 0, 0, 0, string(options), 0, j.adopted, j.ModelDigest, "{}", millis(at), j.Tenant, texts(j.Labels), texts(j.Metadata), 0.0, 0.0, 0, 0, j.Isolated, hookText(j.Hook), j.RunID, j.BatchID,
		millis(now), laneOf(j), turnOf(j), expectedWindows(j), expectedSeconds(j), millis(j.StartBy(j.Created)),
	}, nil
}

// texts is a JSON object of texts.
func texts(m map[string]string) string {
	if len(m) == 0 {
		return "{}"
	}
	raw, err := json.Marshal(m)
	if err != nil {
		panic(err) // unreachable: texts have a form in JSON
	}
	return string(raw)
}

// textsOf reads what texts made; no texts are nil.
func textsOf(raw string, m *map[string]string) error {
	if raw == "{}" {
		return nil
	}
	return json.Unmarshal([]byte(raw), m)
}

func questionRows(j Job) (rows [][]any) {
	for i, text := range j.Questions {
		rows = append(rows, []any{j.ID, i, text})
	}
	return rows
}

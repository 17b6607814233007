package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// Record writes plans and outcomes in one transaction, whatever order they come in, and ends the
// jobs that they complete. Recording an entry again changes nothing: the first terminal outcome of a
// question on a window stands. The result has one element for each entry, in order.
func (s *SQL) Record(ctx context.Context, entries []Entry) ([]Recorded, error) {
	var out []Recorded
	err := s.inTx(ctx, func(tx *tx) error {
		out = make([]Recorded, len(entries))
		r := &recording{
			tx: tx, out: out, now: s.now(), jobs: make(map[string]*Job), stored: make(map[string]bool), open: make(map[string]int), used: make(map[string]Usage), changed: make(map[string]*change),
		}
		r.notices = &notices{tx: tx, now: r.now}
		if err := r.lock(ctx, entries); err != nil {
			return err
		}
		for i, e := range entries {
			var err error
			r.at = i
			if out[i], err = r.entry(ctx, e); err != nil {
				return fmt.Errorf("recording for job %s: %w", e.jobID(), s.dialect.refused(err))
			}
		}
		return r.write(ctx)
	})
	if err != nil {
		return nil, err
	}
	return out, nil
}

// recording is one transaction's work; jobs holds the rows that it has locked, nil for a job that is not known.
type recording struct {
	tx   *tx
	now  time.Time
	jobs map[string]*Job
	// changed are the jobs whose rows must be written.
	changed map[string]*change
	// windows and outcomes are rows that flush writes. stored tells of outcomes, by id, whether they are in the database or in these rows; what it does not tell must be looked up.
	windows, outcomes [][]any
	stored            map[string]bool
	// out has what was done with each entry. at is the place of the entry in hand, endings are the places of those that have ended their jobs.
	out     []Recorded
	at      int
	endings []int
	// open and ended are what the transaction adds to the counters of open jobs, by lane, and to the ledger.
	open  map[string]int
	ended ledgerSum
	// used are the seconds of audio that new plans hear, by tenant.
	used map[string]Usage
	// tenants is how many there are; 0 = not read yet.
	tenants int
	notices *notices
}

// lock reads the jobs of the entries and holds their rows until the transaction ends, in the order of their ids, so that two gateways never wait for each
// other. It then asks which of the outcomes are stored already: nobody else writes outcomes of these jobs meanwhile.
func (r *recording) lock(ctx context.Context, entries []Entry) error {
	var jobs, outcomes []string
	for _, e := range entries {
		jobs = append(jobs, e.jobID())
		if e.Outcome != nil {
			outcomes = append(outcomes, e.Outcome.GetOutcomeId())
		}
	}
	slices.Sort(jobs)
	for some := range slices.Chunk(slices.Compact(jobs), maxIDs) {
		in, args := r.tx.dialect.oneOf("job_id", some)
		err := r.tx.each(ctx, func(rows *sql.Rows) error {
			job, err := scanJob(rows)
			r.jobs[job.ID] = &job
			return err
		}, `SELECT `+jobColumns+` FROM jobs WHERE `+in+` ORDER BY job_id`+r.tx.dialect.lock, args...)
		if err != nil {
			return fmt.Errorf("reading jobs %.64q to %.64q: %w", some[0], some[len(some)-1], r.tx.dialect.refused(err))
		}
	}
	for some := range slices.Chunk(outcomes, maxIDs) {
		for _, id := range some {
			r.stored[id] = false
		}
		in, args := r.tx.dialect.oneOf("outcome_id", some)
		err := r.tx.each(ctx, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			r.stored[id] = true
			return err
		}, `SELECT outcome_id FROM outcomes WHERE `+in, args...)
		if err != nil {
			return fmt.Errorf("looking for %d outcomes: %w", len(some), r.tx.dialect.refused(err))
		}
	}
	return nil
}

// has tells whether an outcome is stored, or is among the rows to be.
func (r *recording) has(ctx context.Context, id string) (bool, error) {
	if stored, known := r.stored[id]; known {
		return stored, nil
	}
	var n int
	err := r.tx.row(ctx, `SELECT COUNT(*) FROM outcomes WHERE outcome_id = ?`, id).Scan(&n)
	return n > 0, err
}

// flush writes the rows of windows and outcomes. It must come before what reads these tables.
func (r *recording) flush(ctx context.Context) error {
	_, err := r.tx.insert(ctx, `plan_windows (job_id, idx, hash, start_s, end_s, heard_s, warnings)`, r.windows, "")
	if err == nil {
		_, err = r.tx.insert(ctx, `outcomes (outcome_id, job_id, window_idx, question_idx, seq, state, error_code, cache, record, recorded_ms)`, r.outcomes, "")
	}
	r.windows, r.outcomes = nil, nil
	return err
}

// write writes the rows of the jobs that have changed, and then the counters, which all jobs share, last, so that others wait for them as shortly as possible.
func (r *recording) write(ctx context.Context) error {
	if err := r.writeRows(ctx); err != nil {
		return fmt.Errorf("recording %d plans and outcomes: %w", len(r.out), r.tx.dialect.refused(err))
	}
	for _, lane := range event.Lanes() {
		if n := r.open[lane]; n != 0 {
			if err := countOpen(ctx, r.tx, lane, n); err != nil {
				return err
			}
		}
	}
	if err := r.ended.add(ctx, r.tx); err != nil {
		return err
	}
	return noteUse(ctx, r.tx, r.now, r.used)
}

func (r *recording) writeRows(ctx context.Context) error {
	if err := r.countEnded(ctx); err != nil {
		return err
	}
	if err := r.flush(ctx); err != nil {
		return err
	}
	return r.writeJobs(ctx)
}

// countEnded counts the outcomes of the jobs that have ended.
func (r *recording) countEnded(ctx context.Context) error {
	if len(r.endings) == 0 {
		return nil
	}
	if err := r.flush(ctx); err != nil {
		return err
	}
	var ids []string
	for _, i := range r.endings {
		ids = append(ids, r.out[i].Job.ID)
	}
	found := make(map[string]int, len(ids))
	in, args := r.tx.dialect.oneOf("job_id", ids)
	err := r.tx.each(ctx, func(rows *sql.Rows) error {
		var id string
		var n int
		err := rows.Scan(&id, &n)
		found[id] = n
		return err
	}, `SELECT job_id, COUNT(*) FROM outcomes WHERE `+in+` GROUP BY job_id`, args...)
	if err != nil {
		return err
	}
	for _, i := range r.endings {
		job := r.out[i].Job
		c := r.changed[job.ID]
		c.offBy = found[job.ID] - job.Expected()
		r.out[i].Missing = max(c.offBy, -c.offBy)
		r.ended.count(1, job, found[job.ID])
	}
	r.endings = nil
	return nil
}

// change says what of a job's row is written beside what always is.
type change struct {
	// planned: its plan has come. forward: it has got on. ended: it has ended, with offBy outcomes more or fewer than expected.
	planned, forward, ended bool
	offBy                   int
}

func (r *recording) entry(ctx context.Context, e Entry) (Recorded, error) {
	job := r.jobs[e.jobID()]
	if job == nil {
		return Recorded{Unknown: true}, nil
	}
	before := job.State
	var rec Recorded
	var err error
	if e.Plan != nil {
		err = r.plan(ctx, job, e.Plan)
	} else {
		rec, err = r.outcome(ctx, job, e.Outcome)
	}
	if err != nil {
		return Recorded{}, err
	}
	if err := r.combine(ctx, job, &rec, e.Outcome); err != nil {
		return Recorded{}, err
	}
	r.settle(job, &rec)
	if err := r.tell(ctx, *job, before); err != nil {
		return Recorded{}, err
	}
	rec.Job = *job
	return rec, nil
}

// plan writes the job's windows. The first plan stands, unless the job is opened again.
func (r *recording) plan(ctx context.Context, job *Job, plan *eventpb.JobPlan) error {
	if !job.Planned.IsZero() {
		if again, err := r.reopen(ctx, job, plan); err != nil || !again {
			return err
		}
	}
	windows, err := r.windowsOf(ctx, job, plan)
	if err != nil {
		return err
	}
	for i, w := range windows {
		r.windows = append(r.windows, []any{job.ID, i, w.GetHash(), w.GetSpan().GetStartS(), w.GetSpan().GetEndS(), w.GetHeardS(), strings.Join(w.GetWarnings(), ",")})
	}
	used := r.used[job.Tenant]
	for _, w := range plan.GetWindows() {
		used.AudioS += w.GetHeardS()
	}
	r.used[job.Tenant] = used
	job.Faults = event.FaultsOf(plan.GetTrack())
	job.WindowCount, job.DurationS, job.Planned = len(windows), plan.GetTrack().GetDurationS(), r.now
	if job.Combine && job.WindowCount > 1 {
		job.WindowCount++ // the whole track
	}
	if job.State == Queued {
		job.State = Running
	}
	return r.dropStrays(ctx, job)
}

// windowsOf are the windows that a plan means. Who gives a job up before it knows of a plan names one window without audio. Windows whose plan
// was late or lost may have outcomes by then: they belong to the job, or what its streams have told would be taken back.
func (r *recording) windowsOf(ctx context.Context, job *Job, plan *eventpb.JobPlan) ([]*eventpb.Window, error) {
	windows := plan.GetWindows()
	if len(windows) != 1 || windows[0].GetHash() != "" {
		return windows, nil
	}
	if err := r.flush(ctx); err != nil {
		return nil, err
	}
	rows, err := r.tx.QueryContext(ctx, r.tx.dialect.rebind(
		`SELECT record FROM outcomes WHERE job_id = ? AND window_idx < ? ORDER BY window_idx`), job.ID, event.MaxWindows)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	known := slices.Clone(windows)
	for rows.Next() {
		o, err := scanOutcome(rows)
		if err != nil {
			return nil, err
		}
		w := o.GetWindow()
		for len(known) <= int(w.GetIndex()) {
			known = append(known, &eventpb.Window{Index: uint32(len(known))})
		}
		known[w.GetIndex()] = w
	}
	return known, rows.Err()
}

// outcome writes one outcome, or one for each question and window for which it stands.
func (r *recording) outcome(ctx context.Context, job *Job, o *eventpb.Outcome) (Recorded, error) {
	asked := []*eventpb.Outcome{o}
	if o.GetQuestion().GetText() == "" {
		var err error
		if asked, err = r.everyQuestion(ctx, job, o); err != nil {
			return Recorded{}, err
		}
	}
	var outcomes []*eventpb.Outcome
	for _, o := range asked {
		if int(o.GetWindow().GetIndex()) == job.Combined() {
			track, err := r.ofTrack(ctx, job, o)
			if err != nil {
				return Recorded{}, err
			}
			outcomes = append(outcomes, track...)
			continue
		}
		question, window := int(o.GetQuestion().GetIndex()), int(o.GetWindow().GetIndex())
		planned := !job.Planned.IsZero()
		if question >= job.QuestionCount || (planned && window >= job.WindowCount) {
			return Recorded{Outside: true}, nil
		}
		each := []*eventpb.Outcome{o}
		if planned && o.GetWindow().GetHash() == "" {
			var err error
			if each, err = r.spread(ctx, job, o); err != nil {
				return Recorded{}, err
			}
		}
		outcomes = append(outcomes, each...)
	}
	return r.insertAll(ctx, job, outcomes)
}

func (r *recording) insertAll(ctx context.Context, job *Job, outcomes []*eventpb.Outcome) (Recorded, error) {
	var added, before []*eventpb.Outcome
	for _, o := range outcomes {
		stored, isNew, err := r.insert(ctx, job, o)
		if err != nil {
			return Recorded{}, err
		}
		if isNew {
			added = append(added, stored)
		} else {
			before = append(before, stored)
		}
	}
	return Recorded{Outcomes: append(added, before...), New: len(added)}, nil
}

// everyQuestion turns an outcome whose question has no text into one for each question of the job. A stage writes such an outcome for a
// record that names a job but whose questions it cannot read. If the window is not known either and the job has no plan, the chunker could
// not read the job, and nobody else will plan it: the outcome is its plan too.
func (r *recording) everyQuestion(ctx context.Context, job *Job, o *eventpb.Outcome) ([]*eventpb.Outcome, error) {
	if job.Planned.IsZero() && o.GetWindow().GetHash() == "" {
		err := r.plan(ctx, job, &eventpb.JobPlan{Windows: []*eventpb.Window{{}}})
		if err != nil {
			return nil, err
		}
	}
	var out []*eventpb.Outcome
	err := r.tx.each(ctx, func(rows *sql.Rows) error {
		var q eventpb.Question
		if err := rows.Scan(&q.Index, &q.Text); err != nil {
			return err
		}
		copied := proto.CloneOf(o)
		copied.Question = &eventpb.Question{Index: q.GetIndex(), Text: q.GetText()}
		copied.OutcomeId = event.OutcomeID(job.ID, q.GetIndex(), o.GetWindow().GetIndex())
		out = append(out, copied)
		return nil
	}, `SELECT idx, text FROM questions WHERE job_id = ? ORDER BY idx`, job.ID)
	return out, err
}

// spread turns the outcome of a job that was given up as a whole (its window names no audio) into
// one for each window of the plan: a chunker that had published the plan and only some of its
// windows before it gave up would otherwise leave the others open for ever.
func (r *recording) spread(ctx context.Context, job *Job, o *eventpb.Outcome) ([]*eventpb.Outcome, error) {
	if err := r.flush(ctx); err != nil {
		return nil, err
	}
	rows, err := r.tx.QueryContext(ctx, r.tx.dialect.rebind(
		`SELECT idx, hash, start_s, end_s FROM plan_windows WHERE job_id = ? ORDER BY idx`), job.ID)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	var out []*eventpb.Outcome
	for rows.Next() {
		var index uint32
		var hash string
		var span eventpb.Span
		if err := rows.Scan(&index, &hash, &span.StartS, &span.EndS); err != nil {
			return nil, err
		}
		copied := proto.CloneOf(o)
		if copied.Window = (&eventpb.Window{Index: index, Hash: hash}); hash != "" {
			copied.Window.Span = &eventpb.Span{StartS: span.StartS, EndS: span.EndS}
		}
		copied.OutcomeId = event.OutcomeID(job.ID, o.GetQuestion().GetIndex(), index)
		out = append(out, copied)
	}
	if at := job.Combined(); at >= 0 {
		out = append(out, atTrack(job, proto.CloneOf(o)))
	}
	return out, rows.Err()
}

// insert has an outcome written if its id is new and returns the outcome that the store then holds.
func (r *recording) insert(ctx context.Context, job *Job, o *eventpb.Outcome) (*eventpb.Outcome, bool, error) {
	o, err := r.hideHit(ctx, job, o)
	if err != nil {
		return nil, false, err
	}
	id := o.GetOutcomeId()
	known, err := r.has(ctx, id)
	if err != nil {
		return nil, false, err
	}
	if known {
		if err := r.flush(ctx); err != nil {
			return nil, false, err
		}
		stored, err := scanOutcome(r.tx.row(ctx, `SELECT record FROM outcomes WHERE outcome_id = ?`, id))
		if err != nil {
			return nil, false, err
		}
		return r.supersede(ctx, job, stored, o)
	}
	record, err := proto.Marshal(o)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	r.stored[id] = true
	r.outcomes = append(r.outcomes, []any{
		id, job.ID, o.GetWindow().GetIndex(), o.GetQuestion().GetIndex(), job.lastSeq + 1,
		OutcomeState(o.GetState()), o.GetError().GetCode(), CacheName(o.GetCache()), record, millis(r.now),
	})
	job.lastSeq++
	job.Cost = job.Cost.Plus(CostOf(o, job.QuestionCount))
	switch o.GetState() {
	case eventpb.State_STATE_ANSWERED:
		job.Answered++
	case eventpb.State_STATE_CANCELLED:
		job.Cancelled++
	default:
		job.Failed++
	}
	if job.FirstOutcome.IsZero() {
		job.FirstOutcome = r.now
	}
	return o, true, nil
}

// settle ends the job if every outcome is in, and notes what of its row is to be written.
func (r *recording) settle(job *Job, rec *Recorded) {
	c := r.changed[job.ID]
	if c == nil {
		c = &change{}
		r.changed[job.ID] = c
	}
	if job.Ended.IsZero() && !job.Planned.IsZero() && job.Recorded() >= job.Expected() {
		job.Ended, job.State, rec.JustEnded = r.now, finalState(*job), true
		c.ended, r.endings = true, append(r.endings, r.at)
		if !job.adopted {
			r.open[laneOf(*job)]--
		}
	}
	c.planned = c.planned || job.Planned.Equal(r.now)
	c.forward = c.forward || c.planned || rec.New > 0
}

// writeJobs writes the rows of the jobs that have changed.
func (r *recording) writeJobs(ctx context.Context) error {
	var rows [][]any
	now := millis(r.now)
	for _, id := range slices.Sorted(maps.Keys(r.changed)) {
		job, c := r.jobs[id], r.changed[id]
		faults, err := json.Marshal(job.Faults)
		if err != nil {
			return err
		}
		// What is planned or ended waits no more: Admit must not publish it, not even when it is opened again.
		known := job.Waiting && !job.Planned.IsZero()
		rows = append(rows, []any{
			id, string(job.State), job.WindowCount, job.DurationS, job.Answered, job.Failed, job.Cancelled,
			millis(job.Planned), millis(job.FirstOutcome), millis(job.Ended), job.lastSeq, job.Cost.AudioS, job.Cost.EncoderS, job.Cost.PromptTokens, job.Cost.OutputTokens,
			c.planned, string(faults), c.ended, c.offBy, c.forward, known,
		})
	}
	return r.tx.update(ctx, func(*sql.Rows) error { return nil }, `UPDATE jobs SET state = v.column2, windows = v.column3, duration_s = v.column4,
		answered = v.column5, failed = v.column6, cancelled = v.column7, planned_ms = v.column8, first_ms = v.column9, ended_ms = v.column10, last_seq = v.column11,
		cost_audio_s = v.column12, cost_encoder_s = v.column13, cost_prompt_tokens = v.column14, cost_output_tokens = v.column15,
		faults = CASE WHEN v.column16 THEN v.column17 ELSE faults END, off_by = CASE WHEN v.column18 THEN v.column19 ELSE off_by END,
		audited_ms = CASE WHEN v.column18 THEN ? ELSE audited_ms END, active_ms = CASE WHEN v.column20 THEN ? ELSE active_ms END,
		admitted_ms = CASE WHEN v.column21 THEN ? ELSE admitted_ms END, republished = CASE WHEN v.column20 THEN 0 ELSE republished END`,
		[]any{now, now, now}, "job_id", rows, "TRUE", nil)
}

// tell writes the webhooks of a job that has ended, or that has ended otherwise than before because an answer has replaced a failure.
func (r *recording) tell(ctx context.Context, job Job, before State) error {
	if job.State == before || !job.State.Terminal() || job.RunID != "" || job.BatchID != "" {
		return nil
	}
	return r.notices.send(ctx, jobNotice(job))
}

// dropStrays removes outcomes that came before the plan and that the plan, once known, has no
// window for; they would make the job look complete too early.
func (r *recording) dropStrays(ctx context.Context, job *Job) error {
	if job.lastSeq == 0 {
		return nil
	}
	if err := r.flush(ctx); err != nil {
		return err
	}
	n, err := r.tx.exec(ctx, `DELETE FROM outcomes WHERE job_id = ? AND window_idx >= ?`, job.ID, job.WindowCount)
	if err != nil || n == 0 {
		return err
	}
	clear(r.stored)
	return r.tx.row(ctx, `SELECT COUNT(CASE WHEN state = 'answered' THEN 1 END), COUNT(CASE WHEN state = 'failed' THEN 1 END),
		COUNT(CASE WHEN state = 'cancelled' THEN 1 END) FROM outcomes WHERE job_id = ?`, job.ID).
		Scan(&job.Answered, &job.Failed, &job.Cancelled)
}

// finalState is the state of a job that has all its outcomes.
func finalState(j Job) State {
	switch {
	case j.Answered == j.Expected():
		return Succeeded
	case !j.CancelAsked.IsZero() && j.Cancelled > 0:
		return Cancelled
	case j.Answered > 0:
		return Partial
	}
	return Failed
}

// Outcomes returns up to limit outcomes of a job recorded after number after (0 = from the first),
// in the order in which they were recorded, and the number of the last one returned.
func (s *SQL) Outcomes(ctx context.Context, jobID string, after, limit int) ([]*eventpb.Outcome, int, error) {
	var out []*eventpb.Outcome
	last := after
	err := s.queryRead(ctx, func(rows *sql.Rows) error {
		var record []byte
		if err := rows.Scan(&last, &record); err != nil {
			return err
		}
		o := &eventpb.Outcome{}
		out = append(out, o)
		return proto.Unmarshal(record, o)
	}, `SELECT seq, record FROM outcomes WHERE job_id = ? AND seq > ? ORDER BY seq LIMIT ?`, jobID, after, limit)
	if err != nil {
		return nil, 0, fmt.Errorf("reading outcomes of job %.64q: %w", jobID, err)
	}
	return out, last, nil
}

func scanOutcome(row scanner) (*eventpb.Outcome, error) {
	var record []byte
	if err := row.Scan(&record); err != nil {
		return nil, err
	}
	o := &eventpb.Outcome{}
	return o, proto.Unmarshal(record, o)
}

// OutcomeState is the name of an outcome's state in SQL and JSON.
func OutcomeState(s eventpb.State) string {
	switch s {
	case eventpb.State_STATE_ANSWERED:
		return event.OutcomeAnswered
	case eventpb.State_STATE_CANCELLED:
		return event.OutcomeCancelled
	}
	return event.OutcomeFailed
}

// CacheName is the name of a cache state in SQL and JSON; "" when the encoder was not reached.
func CacheName(c eventpb.Cache) string {
	switch c {
	case eventpb.Cache_CACHE_HIT:
		return event.CacheHit
	case eventpb.Cache_CACHE_MISS:
		return event.CacheMiss
	}
	return ""
}

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/larkstream/larkstream/shared/event"
)

const jobColumns = `job_id, state, audio_sha256, audio_key, audio_bytes, audio_name, plan_mode, spans, decode,
	trace_id, questions, windows, duration_s, answered, failed, cancelled,
	created_ms, deadline_ms, planned_ms, first_ms, cancel_ms, ended_ms, options, last_seq, adopted, model_digest, faults, admitted_ms, tenant`

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
	// Submitter is who takes turns with other submitters while jobs wait.
	Submitter string
}

// Create writes the job, its questions and the outbox records in one transaction, so that neither
// the job nor its publication can exist without the other. A job for which the lane has no room waits, and its records are not written.
func (s *SQL) Create(ctx context.Context, job Job, outbox []event.Record, opts CreateOptions) error {
	err := s.inTx(ctx, func(tx *tx) error {
		if err := checkOpen(ctx, tx, laneOf(job), opts.MaxOpen); err != nil {
			return err
		}
		room, err := hasRoom(ctx, tx, laneOf(job), opts.MaxWindows)
		if err != nil {
			return err
		}
		job.Waiting = !room
		if err := insertWithQuestions(ctx, tx, job, opts.Submitter, s.now()); err != nil {
			return err
		}
		if room {
			if err := enqueue(ctx, tx, outbox, job.Created); err != nil {
				return err
			}
		}
		return settleClaim(ctx, tx, job.ID, opts)
	})
	if err != nil {
		return fmt.Errorf("creating job %s: %w", job.ID, err)
	}
	return nil
}

func insertWithQuestions(ctx context.Context, tx *tx, job Job, submitter string, now time.Time) error {
	if err := insertJob(ctx, tx, job, submitter, now); err != nil {
		return err
	}
	if err := ownAudio(ctx, tx, job.Tenant, job.Audio.SHA256, now); err != nil {
		return err
	}
	for i, text := range job.Questions {
		if _, err := tx.exec(ctx, `INSERT INTO questions (job_id, idx, text) VALUES (?, ?, ?)`, job.ID, i, text); err != nil {
			return err
		}
	}
	if job.adopted {
		return nil
	}
	_, err := tx.exec(ctx, `UPDATE counters SET n = n + 1 WHERE name = ?`, openJobs(laneOf(job)))
	return err
}

// openJobs names the counter of a lane's open jobs that Create made. It is kept with each job's first and last write, because counting the rows
// would hold the only writer for longer the more jobs are open.
func openJobs(lane string) string {
	if lane == event.LaneBulk {
		return "open_jobs.bulk"
	}
	return "open_jobs"
}

func checkOpen(ctx context.Context, tx *tx, lane string, maxOpen int) error {
	if maxOpen <= 0 {
		return nil
	}
	var open int
	if err := tx.row(ctx, `SELECT n FROM counters WHERE name = ?`, openJobs(lane)).Scan(&open); err != nil {
		return err
	}
	if open >= maxOpen {
		return ErrTooManyJobs
	}
	return nil
}

func insertJob(ctx context.Context, tx *tx, j Job, submitter string, now time.Time) error {
	spans, err := json.Marshal(j.Spans)
	if err != nil {
		return err
	}
	decode, err := json.Marshal(j.Decode)
	if err != nil {
		return err
	}
	options, err := json.Marshal(j.Options)
	if err != nil {
		return err
	}
	at := now
	if j.Waiting {
		at = time.Time{}
	}
	_, err = tx.exec(ctx, `INSERT INTO jobs (`+jobColumns+`, active_ms, lane, submitter, expected_windows)
		VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
		j.ID, string(Queued), j.Audio.SHA256, audioPlace(j.Audio), j.Audio.Bytes, j.Audio.Name, j.Plan, string(spans), string(decode),
		j.TraceID, len(j.Questions), 0, 0.0, 0, 0, 0,
		millis(j.Created), millis(j.Deadline), 0, 0, 0, 0, string(options), 0, j.adopted, j.ModelDigest, "{}", millis(at), j.Tenant,
		millis(now), laneOf(j), submitter, expectedWindows(j))
	return err
}

// audioPlace is what the column audio_key holds: the key of stored audio, or the URI of audio that is read where it lies.
func audioPlace(a event.AudioFile) string {
	if a.URI != "" {
		return a.URI
	}
	return event.AudioKey(a.SHA256)
}

func scanJob(row scanner) (Job, error) {
	var j Job
	var audioKey, spans, decode, options, faults string
	var created, deadline, planned, first, cancel, ended, admitted int64
	err := row.Scan(&j.ID, &j.State, &j.Audio.SHA256, &audioKey, &j.Audio.Bytes, &j.Audio.Name, &j.Plan, &spans, &decode,
		&j.TraceID, &j.QuestionCount, &j.WindowCount, &j.DurationS, &j.Answered, &j.Failed, &j.Cancelled,
		&created, &deadline, &planned, &first, &cancel, &ended, &options, &j.lastSeq, &j.adopted, &j.ModelDigest, &faults, &admitted, &j.Tenant)
	if errors.Is(err, sql.ErrNoRows) {
		return Job{}, ErrNotFound
	}
	if err != nil {
		return Job{}, err
	}
	j.Created, j.Deadline, j.Planned = fromMillis(created), fromMillis(deadline), fromMillis(planned)
	j.FirstOutcome, j.CancelAsked, j.Ended = fromMillis(first), fromMillis(cancel), fromMillis(ended)
	j.Waiting = admitted == 0
	if audioKey != event.AudioKey(j.Audio.SHA256) {
		j.Audio.URI = audioKey
	}
	return j, errors.Join(json.Unmarshal([]byte(spans), &j.Spans), json.Unmarshal([]byte(decode), &j.Decode), json.Unmarshal([]byte(options), &j.Options),
		json.Unmarshal([]byte(faults), &j.Faults))
}

// Get returns a job with its questions, windows and window counts, or ErrNotFound.
func (s *SQL) Get(ctx context.Context, id string) (Job, error) {
	j, err := s.Peek(ctx, id)
	if err != nil {
		return Job{}, err
	}
	if err := s.fill(ctx, &j); err != nil {
		return Job{}, fmt.Errorf("reading job %s: %w", id, err)
	}
	return j, nil
}

// Peek returns a job without its questions and windows, or ErrNotFound.
func (s *SQL) Peek(ctx context.Context, id string) (Job, error) {
	j, err := scanJob(s.rowRead(ctx, `SELECT `+jobColumns+` FROM jobs WHERE job_id = ?`, id))
	if err != nil {
		return Job{}, fmt.Errorf("reading job %.64q: %w", id, err)
	}
	return j, nil
}

func (s *SQL) fill(ctx context.Context, j *Job) error {
	err := s.queryRead(ctx, func(rows *sql.Rows) error {
		var text string
		err := rows.Scan(&text)
		j.Questions = append(j.Questions, text)
		return err
	}, `SELECT text FROM questions WHERE job_id = ? ORDER BY idx`, j.ID)
	if err != nil {
		return err
	}
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		var w Window
		var warnings string
		err := rows.Scan(&w.Index, &w.Hash, &w.Span.StartS, &w.Span.EndS, &w.HeardS, &warnings)
		if warnings != "" {
			w.Warnings = strings.Split(warnings, ",")
		}
		j.Windows = append(j.Windows, w)
		return err
	}, `SELECT idx, hash, start_s, end_s, heard_s, warnings FROM plan_windows WHERE job_id = ? ORDER BY idx`, j.ID)
	if err != nil {
		return err
	}
	return s.queryRead(ctx, func(rows *sql.Rows) error {
		var window, outcomes, hits int
		if err := rows.Scan(&window, &outcomes, &hits); err != nil {
			return err
		}
		if outcomes >= j.QuestionCount && window < len(j.Windows) {
			j.WindowsDone++
		}
		if hits > 0 {
			j.CacheHits++
		}
		return nil
	}, `SELECT window_idx, COUNT(*), SUM(CASE WHEN cache = 'hit' THEN 1 ELSE 0 END)
		FROM outcomes WHERE job_id = ? GROUP BY window_idx`, j.ID)
}

// List returns jobs of a tenant, newest first, without questions and windows.
func (s *SQL) List(ctx context.Context, q ListQuery) ([]Job, error) {
	query, args := `SELECT `+jobColumns+` FROM jobs WHERE tenant = ?`, []any{q.Tenant}
	if q.State != "" {
		query, args = query+` AND state = ?`, append(args, string(q.State))
	}
	if q.After != (Place{}) {
		query, args = query+` AND (created_ms, job_id) < (?, ?)`, append(args, millis(q.After.Created), q.After.ID)
	}
	var jobs []Job
	err := s.queryRead(ctx, func(rows *sql.Rows) error {
		j, err := scanJob(rows)
		jobs = append(jobs, j)
		return err
	}, query+` ORDER BY created_ms DESC, job_id DESC LIMIT ?`, append(args, q.Limit)...)
	if err != nil {
		return nil, fmt.Errorf("listing jobs: %w", err)
	}
	return jobs, nil
}

// Cancel marks an open job as cancelling and puts records into the outbox, in one transaction: stop (the control record) for a job that the
// stages may know, ends (the job's outcomes) for a job that waits, which is never admitted then. It returns the job as it then is. A job
// that has ended, or that is being cancelled already, is returned unchanged.
func (s *SQL) Cancel(ctx context.Context, id string, stop, ends []event.Record) (Job, error) {
	var job Job
	err := s.inTx(ctx, func(tx *tx) error {
		now := s.now()
		n, err := tx.exec(ctx, `UPDATE jobs SET state = ?, cancel_ms = ? WHERE job_id = ? AND ended_ms = 0 AND cancel_ms = 0`,
			string(Cancelling), millis(now), id)
		if err != nil {
			return err
		}
		if n > 0 {
			if err := withdraw(ctx, tx, id, stop, ends, now); err != nil {
				return err
			}
		}
		job, err = scanJob(tx.row(ctx, `SELECT `+jobColumns+` FROM jobs WHERE job_id = ?`, id))
		return err
	})
	if err != nil {
		return Job{}, fmt.Errorf("cancelling job %.64q: %w", id, err)
	}
	return job, nil
}

func withdraw(ctx context.Context, tx *tx, id string, stop, ends []event.Record, now time.Time) error {
	n, err := tx.exec(ctx, `UPDATE jobs SET admitted_ms = ?, active_ms = ? WHERE job_id = ? AND admitted_ms = 0`, millis(now), millis(now), id)
	if err != nil {
		return err
	}
	if n > 0 {
		return enqueue(ctx, tx, ends, now)
	}
	return enqueue(ctx, tx, stop, now)
}

// AudioInUse tells whether an open job needs the audio under that blob key; a sweep must keep it.
func (s *SQL) AudioInUse(ctx context.Context, key string) (bool, error) {
	var n int
	err := s.rowRead(ctx, `SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE audio_key = ? AND ended_ms = 0 LIMIT 1) AS open_jobs`, key).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("reading audio in use: %w", err)
	}
	return n > 0, nil
}

// Ledger sums expected and recorded outcomes. Recorded counts rows, not the counters on the job, so
// that a lost row shows.
func (s *SQL) Ledger(ctx context.Context) (Ledger, error) {
	var l Ledger
	err := s.rowRead(ctx, `SELECT
			COUNT(CASE WHEN ended_ms > 0 THEN 1 END),
			COUNT(CASE WHEN ended_ms = 0 THEN 1 END),
			COALESCE(SUM(CASE WHEN ended_ms > 0 THEN windows * questions ELSE 0 END), 0)
		FROM jobs`).Scan(&l.EndedJobs, &l.OpenJobs, &l.Expected)
	if err != nil {
		return Ledger{}, fmt.Errorf("reading ledger: %w", err)
	}
	err = s.rowRead(ctx, `SELECT COALESCE(SUM(found), 0), COALESCE(SUM(CASE WHEN found <> wanted THEN 1 ELSE 0 END), 0)
		FROM (SELECT windows * questions AS wanted,
			(SELECT COUNT(*) FROM outcomes WHERE outcomes.job_id = jobs.job_id) AS found
			FROM jobs WHERE ended_ms > 0) AS ended`).Scan(&l.Recorded, &l.Unbalanced)
	if err != nil {
		return Ledger{}, fmt.Errorf("reading ledger: %w", err)
	}
	return l, nil
}

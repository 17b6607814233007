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
	created_ms, deadline_ms, planned_ms, first_ms, cancel_ms, ended_ms, options, last_seq, adopted, model_digest, faults, admitted_ms, tenant, labels, metadata,
	cost_audio_s, cost_encoder_s, cost_prompt_tokens, cost_output_tokens, isolated, webhook, run_id, batch_id`

// audioPlace is what the column audio_key holds: the key of stored audio, or the URI of audio that is read where it lies.
func audioPlace(a event.AudioFile) string {
	if a.URI != "" {
		return a.URI
	}
	return event.AudioKey(a.SHA256)
}

func scanJob(row scanner) (Job, error) {
	var j Job
	var audioKey, spans, decode, options, faults, labels, metadata, webhook string
	var created, deadline, planned, first, cancel, ended, admitted int64
	err := row.Scan(&j.ID, &j.State, &j.Audio.SHA256, &audioKey, &j.Audio.Bytes, &j.Audio.Name, &j.Plan, &spans, &decode,
		&j.TraceID, &j.QuestionCount, &j.WindowCount, &j.DurationS, &j.Answered, &j.Failed, &j.Cancelled,
		&created, &deadline, &planned, &first, &cancel, &ended, &options, &j.lastSeq, &j.adopted, &j.ModelDigest, &faults, &admitted, &j.Tenant, &labels, &metadata,
		&j.Cost.AudioS, &j.Cost.EncoderS, &j.Cost.PromptTokens, &j.Cost.OutputTokens, &j.Isolated, &webhook, &j.RunID, &j.BatchID)
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
		json.Unmarshal([]byte(faults), &j.Faults), textsOf(labels, &j.Labels), textsOf(metadata, &j.Metadata), hookOf(webhook, &j.Hook))
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
	if q.Lane != "" {
		query, args = query+` AND lane = ?`, append(args, q.Lane)
	}
	if !q.Since.IsZero() {
		query, args = query+` AND created_ms >= ?`, append(args, millis(q.Since))
	}
	if !q.Until.IsZero() {
		query, args = query+` AND created_ms < ?`, append(args, millis(q.Until))
	}
	if q.Label != "" {
		query, args = query+` AND EXISTS (SELECT 1 FROM job_labels WHERE job_labels.job_id = jobs.job_id AND name = ? AND value = ?)`, append(args, q.Label, q.LabelValue)
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

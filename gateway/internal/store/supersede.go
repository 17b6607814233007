package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// Superseded is an outcome that was replaced.
type Superseded struct {
	Outcome *eventpb.Outcome
	// Seq is the number that it had, By the number of the outcome in its place; 0 where a new plan of the whole job replaced it.
	Seq, By int
	At      time.Time
}

// AllowSupersede notes that the job's owner allows answers to replace outcomes that were given up. who asked for it stands in the store.
func (s *SQL) AllowSupersede(ctx context.Context, jobID, who string) error {
	err := s.inTx(ctx, func(tx *tx) error {
		var n int
		if err := tx.row(ctx, `SELECT COUNT(*) FROM jobs WHERE job_id = ?`, jobID).Scan(&n); err != nil {
			return err
		}
		if n == 0 {
			return ErrNotFound
		}
		_, err := tx.exec(ctx, `INSERT INTO supersede_allowed (job_id, who, at_ms) VALUES (?, ?, ?) ON CONFLICT (job_id) DO NOTHING`, jobID, who, millis(s.now()))
		return err
	})
	if err != nil {
		return fmt.Errorf("allowing job %.64q to be redone: %w", jobID, err)
	}
	return nil
}

// MaySupersede tells whether a job is known, and whether its owner allows answers to replace outcomes that were given up.
func (s *SQL) MaySupersede(ctx context.Context, jobID string) (known, allowed bool, err error) {
	var jobs, rows int
	err = s.rowRead(ctx, `SELECT (SELECT COUNT(*) FROM jobs WHERE job_id = ?), (SELECT COUNT(*) FROM supersede_allowed WHERE job_id = ?)`,
		jobID, jobID).Scan(&jobs, &rows)
	if err != nil {
		return false, false, fmt.Errorf("reading job %.64q: %w", jobID, err)
	}
	return jobs > 0, rows > 0, nil
}

// Superseded returns up to limit replaced outcomes of a job, the oldest first.
func (s *SQL) Superseded(ctx context.Context, jobID string, limit int) ([]Superseded, error) {
	var out []Superseded
	err := s.queryRead(ctx, func(rows *sql.Rows) error {
		o := Superseded{Outcome: &eventpb.Outcome{}}
		var record []byte
		var at int64
		if err := rows.Scan(&o.Seq, &o.By, &record, &at); err != nil {
			return err
		}
		o.At = fromMillis(at)
		out = append(out, o)
		return proto.Unmarshal(record, o.Outcome)
	}, `SELECT seq, superseded_by, record, superseded_ms FROM superseded WHERE job_id = ? ORDER BY seq LIMIT ?`, jobID, limit)
	if err != nil {
		return nil, fmt.Errorf("reading replaced outcomes of job %.64q: %w", jobID, err)
	}
	return out, nil
}

// allowed tells whether the job's owner allows outcomes to be replaced.
func (r *recording) allowed(ctx context.Context, job *Job) (bool, error) {
	var n int
	err := r.tx.row(ctx, `SELECT COUNT(*) FROM supersede_allowed WHERE job_id = ?`, job.ID).Scan(&n)
	return n > 0, err
}

// supersede replaces an outcome that was given up by an answer, if the job's owner allows it, and returns the outcome that the store then
// holds. Nothing else is ever replaced: the first terminal outcome stands.
func (r *recording) supersede(ctx context.Context, job *Job, stored, o *eventpb.Outcome) (*eventpb.Outcome, bool, error) {
	if stored.GetState() != eventpb.State_STATE_FAILED || o.GetState() != eventpb.State_STATE_ANSWERED {
		return stored, false, nil
	}
	if ok, err := r.allowed(ctx, job); err != nil || !ok {
		return stored, false, err
	}
	record, err := proto.Marshal(o)
	if err != nil {
		return nil, false, fmt.Errorf("%w: %w", ErrRefused, err)
	}
	seq := job.lastSeq + 1
	if _, err := r.tx.exec(ctx, `INSERT INTO superseded (outcome_id, seq, job_id, superseded_by, record, recorded_ms, superseded_ms)
		SELECT outcome_id, seq, job_id, ?, record, recorded_ms, ? FROM outcomes WHERE outcome_id = ?`, seq, millis(r.now), o.GetOutcomeId()); err != nil {
		return nil, false, err
	}
	if _, err := r.tx.exec(ctx, `UPDATE outcomes SET seq = ?, state = ?, error_code = '', cache = ?, record = ?, recorded_ms = ? WHERE outcome_id = ?`,
		seq, OutcomeState(o.GetState()), CacheName(o.GetCache()), record, millis(r.now), o.GetOutcomeId()); err != nil {
		return nil, false, err
	}
	job.lastSeq = seq
	job.Failed, job.Answered = job.Failed-1, job.Answered+1
	if !job.Ended.IsZero() {
		job.State = finalState(*job)
	}
	return o, true, nil
}

// reopen opens a job again that was given up before anybody knew its windows, if its owner allows it and the plan now tells them. The outcomes
// that stood for the whole job are kept as superseded.
func (r *recording) reopen(ctx context.Context, job *Job, plan *eventpb.JobPlan) (bool, error) {
	if job.WindowCount != 1 || job.Answered > 0 || !job.CancelAsked.IsZero() || len(plan.GetWindows()) == 0 || plan.GetWindows()[0].GetHash() == "" {
		return false, nil
	}
	if err := r.countEnded(ctx); err != nil {
		return false, err
	}
	if err := r.flush(ctx); err != nil {
		return false, err
	}
	var hash string
	if err := r.tx.row(ctx, `SELECT hash FROM plan_windows WHERE job_id = ? AND idx = 0`, job.ID).Scan(&hash); err != nil || hash != "" {
		return false, err
	}
	if ok, err := r.allowed(ctx, job); err != nil || !ok {
		return false, err
	}
	replaced, err := r.tx.exec(ctx, `INSERT INTO superseded (outcome_id, seq, job_id, superseded_by, record, recorded_ms, superseded_ms)
		SELECT outcome_id, seq, job_id, 0, record, recorded_ms, ? FROM outcomes WHERE job_id = ?`, millis(r.now), job.ID)
	if err != nil {
		return false, err
	}
	for _, table := range []string{"outcomes", "plan_windows"} {
		if _, err := r.tx.exec(ctx, `DELETE FROM `+table+` WHERE job_id = ?`, job.ID); err != nil {
			return false, err
		}
	}
	clear(r.stored)
	if !job.Ended.IsZero() {
		r.ended.count(-1, *job, int(replaced))
		if !job.adopted {
			r.open[laneOf(*job)]++
		}
	}
	job.Failed, job.Cancelled, job.Ended, job.State = 0, 0, time.Time{}, Running
	return true, nil
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/larkstream/larkstream/shared/event"
)

// Idle is an open job that has not come forward for a while.
type Idle struct {
	ID string
	// Republished is how often the job was published again since it last came forward.
	Republished int
	// Since is when it last came forward.
	Since time.Time
}

// Backlog sums up the open jobs.
type Backlog struct {
	Open int
	// Oldest is when the oldest open job was made; zero without open jobs.
	Oldest time.Time
	// Overdue counts the open jobs past their deadline, or asked to cancel, before a given time.
	Overdue int
}

// overdue selects the open jobs whose deadline, or whose cancel, lies before a time given twice.
const overdue = `ended_ms = 0 AND ((deadline_ms > 0 AND deadline_ms < ?) OR (cancel_ms > 0 AND cancel_ms < ?))`

// GiveUpOverdue takes up to limit open jobs whose deadline or cancel lies before due, and which nobody has given up since again, and notes that
// they are given up now. No two gateways are given the same job: whoever is must publish the outcomes that end it. If it dies before it has,
// the job is overdue again.
func (s *SQL) GiveUpOverdue(ctx context.Context, due, again time.Time, limit int) ([]string, error) {
	return s.giveUp(ctx, overdue, again, limit, millis(due), millis(due))
}

// GiveUpUnbegun does the same with jobs that are not planned and must have begun before now, if they wait to be admitted, or before due.
func (s *SQL) GiveUpUnbegun(ctx context.Context, due, again time.Time, limit int) ([]string, error) {
	return s.giveUp(ctx, `ended_ms = 0 AND planned_ms = 0 AND start_by_ms > 0 AND (start_by_ms < ? OR (admitted_ms = 0 AND start_by_ms < ?))`, again, limit,
		millis(due), millis(s.now()))
}

func (s *SQL) giveUp(ctx context.Context, which string, again time.Time, limit int, args ...any) (ids []string, err error) {
	args = append(append([]any{millis(s.now())}, args...), millis(again), limit)
	err = s.inTx(ctx, func(tx *tx) error {
		ids = nil
		return tx.each(ctx, func(rows *sql.Rows) error {
			var id string
			err := rows.Scan(&id)
			ids = append(ids, id)
			return err
		}, `UPDATE jobs SET given_up_ms = ? WHERE job_id IN (SELECT job_id FROM jobs WHERE `+which+` AND given_up_ms < ? LIMIT ?`+tx.dialect.claim+`) RETURNING job_id`, args...)
	})
	if err != nil {
		return nil, fmt.Errorf("giving up overdue jobs: %w", err)
	}
	return ids, nil
}

// Idle returns up to limit open jobs that have not come forward since then. A job that waits to be admitted is not idle, nor is one with a record
// in the outbox: the broker has not been given that record yet.
func (s *SQL) Idle(ctx context.Context, since time.Time, limit int) ([]Idle, error) {
	var jobs []Idle
	err := s.queryRead(ctx, func(rows *sql.Rows) error {
		var j Idle
		var since int64
		err := rows.Scan(&j.ID, &j.Republished, &since)
		j.Since = fromMillis(since)
		jobs = append(jobs, j)
		return err
	}, `SELECT job_id, republished, active_ms FROM jobs WHERE ended_ms = 0 AND admitted_ms > 0 AND active_ms < ? AND given_up_ms < ?
		AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.job_id = jobs.job_id) LIMIT ?`, millis(since), millis(since), limit)
	if err != nil {
		return nil, fmt.Errorf("reading idle jobs: %w", err)
	}
	return jobs, nil
}

// Republish puts an open job's record into the outbox once more, and tells whether it did: it does nothing for a job that has ended meanwhile, or
// that another gateway has published again since idle was read.
func (s *SQL) Republish(ctx context.Context, idle Idle, rec event.Record) (done bool, err error) {
	err = s.inTx(ctx, func(tx *tx) error {
		now := s.now()
		n, err := tx.exec(ctx, `UPDATE jobs SET active_ms = ?, republished = republished + 1 WHERE job_id = ? AND ended_ms = 0 AND republished = ? AND active_ms = ?`,
			millis(now), idle.ID, idle.Republished, millis(idle.Since))
		if done = err == nil && n > 0; !done {
			return err
		}
		return enqueue(ctx, tx, []event.Record{rec}, now)
	})
	if err != nil {
		return false, fmt.Errorf("publishing job %s again: %w", idle.ID, err)
	}
	return done, nil
}

// GiveUp notes that the outcomes which end the job were published now.
func (s *SQL) GiveUp(ctx context.Context, id string) error {
	return s.noteGivenUp(ctx, id, millis(s.now()))
}

// TakeUp takes back that the job was given up: the outcomes which end it could not be published. The job is overdue again at once.
func (s *SQL) TakeUp(ctx context.Context, id string) error { return s.noteGivenUp(ctx, id, 0) }

func (s *SQL) noteGivenUp(ctx context.Context, id string, at int64) error {
	err := s.inTx(ctx, func(tx *tx) error {
		_, err := tx.exec(ctx, `UPDATE jobs SET given_up_ms = ? WHERE job_id = ?`, at, id)
		return err
	})
	if err != nil {
		return fmt.Errorf("noting when job %s was given up: %w", id, err)
	}
	return nil
}

// Backlog sums up the open jobs; those past their deadline or cancel before due are overdue.
func (s *SQL) Backlog(ctx context.Context, due time.Time) (Backlog, error) {
	var b Backlog
	var oldest int64
	err := s.rowRead(ctx, `SELECT COUNT(*), COALESCE(MIN(created_ms), 0) FROM jobs WHERE ended_ms = 0`).Scan(&b.Open, &oldest)
	if err == nil {
		err = s.rowRead(ctx, `SELECT COUNT(*) FROM jobs WHERE `+overdue, millis(due), millis(due)).Scan(&b.Overdue)
	}
	if err != nil {
		return Backlog{}, fmt.Errorf("reading backlog: %w", err)
	}
	b.Oldest = fromMillis(oldest)
	return b, nil
}

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

// Overdue returns up to limit open jobs whose deadline or cancel lies before due and whose end GiveUp has not noted since again.
func (s *SQL) Overdue(ctx context.Context, due, again time.Time, limit int) ([]string, error) {
	var ids []string
	err := s.queryRead(ctx, func(rows *sql.Rows) error {
		var id string
		err := rows.Scan(&id)
		ids = append(ids, id)
		return err
	}, `SELECT job_id FROM jobs WHERE `+overdue+` AND given_up_ms < ? LIMIT ?`, millis(due), millis(due), millis(again), limit)
	if err != nil {
		return nil, fmt.Errorf("reading overdue jobs: %w", err)
	}
	return ids, nil
}

// Idle returns up to limit open jobs that have not come forward since then. A job that waits to be admitted is not idle, nor is one with a record
// in the outbox: the broker has not been given that record yet.
func (s *SQL) Idle(ctx context.Context, since time.Time, limit int) ([]Idle, error) {
	var jobs []Idle
	err := s.queryRead(ctx, func(rows *sql.Rows) error {
		var j Idle
		err := rows.Scan(&j.ID, &j.Republished)
		jobs = append(jobs, j)
		return err
	}, `SELECT job_id, republished FROM jobs WHERE ended_ms = 0 AND admitted_ms > 0 AND active_ms < ? AND given_up_ms < ?
		AND NOT EXISTS (SELECT 1 FROM outbox WHERE outbox.job_id = jobs.job_id) LIMIT ?`, millis(since), millis(since), limit)
	if err != nil {
		return nil, fmt.Errorf("reading idle jobs: %w", err)
	}
	return jobs, nil
}

// Republish puts an open job's record into the outbox once more. It does nothing for a job that has ended meanwhile.
func (s *SQL) Republish(ctx context.Context, id string, rec event.Record) error {
	err := s.inTx(ctx, func(tx *tx) error {
		now := s.now()
		n, err := tx.exec(ctx, `UPDATE jobs SET active_ms = ?, republished = republished + 1 WHERE job_id = ? AND ended_ms = 0`, millis(now), id)
		if err != nil || n == 0 {
			return err
		}
		return enqueue(ctx, tx, []event.Record{rec}, now)
	})
	if err != nil {
		return fmt.Errorf("publishing job %s again: %w", id, err)
	}
	return nil
}

// GiveUp notes that the outcomes which end the job were published now.
func (s *SQL) GiveUp(ctx context.Context, id string) error {
	err := s.inTx(ctx, func(tx *tx) error {
		_, err := tx.exec(ctx, `UPDATE jobs SET given_up_ms = ? WHERE job_id = ?`, millis(s.now()), id)
		return err
	})
	if err != nil {
		return fmt.Errorf("noting the end of job %s: %w", id, err)
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

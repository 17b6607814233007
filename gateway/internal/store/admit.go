package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/larkstream/larkstream/shared/event"
)

// waiting selects the jobs whose record has not gone to the outbox yet, admitted those of Create whose record has.
const (
	waiting  = `ended_ms = 0 AND admitted_ms = 0`
	admitted = `ended_ms = 0 AND admitted_ms > 0 AND NOT adopted`
)

// guessedWindows is what a job with plan all counts for until it is planned: a track of five minutes in windows of 25 s.
const guessedWindows = 12

func expectedWindows(j Job) int {
	switch j.Plan {
	case event.PlanExplicit:
		return max(1, len(j.Spans))
	case event.PlanAll:
		return guessedWindows
	}
	return 1
}

// laneOf is the lane of a job's options.
func laneOf(j Job) string {
	if j.Lane == event.LaneBulk {
		return event.LaneBulk
	}
	return event.LaneInteractive
}

// Admission says which jobs Admit may take.
type Admission struct {
	Lane string
	// After is the submitter whose turn it was last.
	After string
	// MaxWindows is how many windows of the lane may be in Kafka, Limit how many jobs are taken at most.
	MaxWindows, Limit int
	// Record makes the record of a job.
	Record func(Job) (event.Record, error)
}

// Admit puts the records of jobs that wait in the lane into the outbox while the lane has room, one job of each submitter in turn, the
// oldest first. It returns how many it took and whose turn it was last. A job past its deadline is passed over: the reaper ends it. A job of
// which no record can be made is taken all the same, without a record: the reaper finds it idle and ends it.
func (s *SQL) Admit(ctx context.Context, a Admission) (n int, last string, err error) {
	last = a.After
	err = s.inTx(ctx, func(tx *tx) error {
		used, err := windowsInKafka(ctx, tx, a.Lane)
		if err != nil {
			return err
		}
		for n < a.Limit && used < a.MaxWindows {
			job, windows, submitter, err := nextWaiting(ctx, tx, a.Lane, last, s.now())
			if errors.Is(err, sql.ErrNoRows) {
				return nil
			}
			if err != nil {
				return err
			}
			if err := s.admit(ctx, tx, job, a.Record); err != nil {
				return err
			}
			n, last, used = n+1, submitter, used+windows
		}
		return nil
	})
	if err != nil {
		return 0, a.After, fmt.Errorf("admitting %s jobs: %w", a.Lane, err)
	}
	return n, last, nil
}

func (s *SQL) admit(ctx context.Context, tx *tx, id string, record func(Job) (event.Record, error)) error {
	now := s.now()
	job, err := scanJob(tx.row(ctx, `UPDATE jobs SET admitted_ms = ?, active_ms = ? WHERE job_id = ? RETURNING `+jobColumns, millis(now), millis(now), id))
	if err != nil {
		return err
	}
	if job.Questions, err = questionsOf(ctx, tx, id); err != nil {
		return err
	}
	rec, err := record(job)
	if err != nil {
		return nil //nolint:nilerr // the one who makes records tells of it; the reaper ends the job
	}
	return enqueue(ctx, tx, []event.Record{rec}, now)
}

func questionsOf(ctx context.Context, tx *tx, id string) (texts []string, err error) {
	rows, err := tx.QueryContext(ctx, tx.dialect.rebind(`SELECT text FROM questions WHERE job_id = ? ORDER BY idx`), id)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err tells
	for rows.Next() {
		var text string
		if err := rows.Scan(&text); err != nil {
			return nil, err
		}
		texts = append(texts, text)
	}
	return texts, rows.Err()
}

// The questions to the database that each submission and each admission asks.
const (
	waitingAfter  = waitingOf + ` AND submitter > ?` + waitingOrder
	waitingUpTo   = waitingOf + ` AND submitter <= ?` + waitingOrder
	waitingOf     = `SELECT job_id, expected_windows, submitter FROM jobs WHERE lane = ? AND ` + waiting + ` AND given_up_ms = 0 AND (deadline_ms = 0 OR deadline_ms > ?)`
	waitingOrder  = ` ORDER BY submitter, job_id LIMIT 1`
	anyWaiting    = `SELECT COUNT(*) FROM (SELECT 1 FROM jobs WHERE lane = ? AND ` + waiting + ` LIMIT 1) AS first`
	windowsInWork = `SELECT COALESCE(SUM(CASE WHEN planned_ms = 0 THEN expected_windows
		ELSE windows - (answered + failed + cancelled) / questions END), 0) FROM jobs WHERE lane = ? AND ` + admitted
)

// nextWaiting is the oldest job of the submitter that comes after the one named, round and round.
func nextWaiting(ctx context.Context, tx *tx, lane, after string, now time.Time) (id string, windows int, submitter string, err error) {
	err = tx.row(ctx, waitingAfter, lane, millis(now), after).Scan(&id, &windows, &submitter)
	if errors.Is(err, sql.ErrNoRows) {
		err = tx.row(ctx, waitingUpTo, lane, millis(now), after).Scan(&id, &windows, &submitter)
	}
	return id, windows, submitter, err
}

// windowsInKafka is how many windows the stages have not finished of the jobs that Create made and that do not wait here. A job that is not
// planned yet counts for the windows that are expected of it.
func windowsInKafka(ctx context.Context, tx *tx, lane string) (n int, err error) {
	err = tx.row(ctx, windowsInWork, lane).Scan(&n)
	return n, err
}

// hasRoom tells whether a new job of the lane need not wait: the lane has room, and nobody waits already.
func hasRoom(ctx context.Context, tx *tx, lane string, maxWindows int) (bool, error) {
	if maxWindows <= 0 {
		return true, nil
	}
	var others int
	err := tx.row(ctx, anyWaiting, lane).Scan(&others)
	if err != nil || others > 0 {
		return false, err
	}
	used, err := windowsInKafka(ctx, tx, lane)
	return used < maxWindows, err
}

// Waiting counts the jobs of a lane that wait.
func (s *SQL) Waiting(ctx context.Context, lane string) (n int, err error) {
	err = s.rowRead(ctx, `SELECT COUNT(*) FROM jobs WHERE lane = ? AND `+waiting, lane).Scan(&n)
	if err != nil {
		return 0, fmt.Errorf("counting jobs that wait: %w", err)
	}
	return n, nil
}

package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"
)

// Delete removes a job that has ended, with its questions, windows and outcomes, and the idempotency keys that lead to it. It fails with
// ErrNotFound, and with ErrOpen for a job that has not ended: the outcomes to come would belong to nothing.
func (s *SQL) Delete(ctx context.Context, id string) error {
	err := s.inTx(ctx, func(tx *tx) error {
		n, err := deleteEnded(ctx, tx, `job_id = ?`+tx.dialect.lock, id)
		if err != nil || n > 0 {
			return err
		}
		var found int
		if err := tx.row(ctx, `SELECT COUNT(*) FROM jobs WHERE job_id = ?`, id).Scan(&found); err != nil {
			return err
		}
		if found > 0 {
			return ErrOpen
		}
		return ErrNotFound
	})
	if err != nil {
		return fmt.Errorf("deleting job %.64q: %w", id, err)
	}
	return nil
}

// DeleteEnded removes up to limit jobs of a tenant that ended before a time, the oldest first, and returns how many there were.
func (s *SQL) DeleteEnded(ctx context.Context, tenant string, before time.Time, limit int) (int, error) {
	var n int
	err := s.inTx(ctx, func(tx *tx) (err error) {
		n, err = deleteEnded(ctx, tx, `tenant = ? AND ended_ms < ? ORDER BY ended_ms LIMIT ?`+tx.dialect.claim, tenant, millis(before), limit)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("deleting old jobs: %w", err)
	}
	return n, nil
}

// deleteEnded deletes the ended jobs of a condition. The rows that refer to them go with them.
func deleteEnded(ctx context.Context, tx *tx, which string, args ...any) (int, error) {
	var ids []string
	var sum ledgerSum
	err := tx.each(ctx, func(rows *sql.Rows) error {
		var id string
		var j Job
		var off int
		err := rows.Scan(&id, &j.WindowCount, &j.QuestionCount, &off)
		ids = append(ids, id)
		sum.count(-1, j, j.Expected()+off)
		return err
	}, `SELECT job_id, windows, questions, off_by FROM jobs WHERE ended_ms > 0 AND `+which, args...)
	if err != nil || len(ids) == 0 {
		return 0, err
	}
	in, ended := tx.dialect.oneOf("job_id", ids)
	for _, table := range []string{"idempotency", "jobs"} {
		if _, err := tx.exec(ctx, `DELETE FROM `+table+` WHERE `+in, ended...); err != nil {
			return 0, err
		}
	}
	return len(ids), sum.add(ctx, tx)
}

package store

import (
	"context"
	"errors"
	"fmt"
)

// Adopt writes a job that is on the log already, published by another producer than this store's outbox. A job that is known
// is left as it is.
func (s *SQL) Adopt(ctx context.Context, job Job) error {
	if _, err := s.Peek(ctx, job.ID); !errors.Is(err, ErrNotFound) {
		return err
	}
	err := s.inTx(ctx, func(tx *tx) error {
		var known int
		if err := tx.row(ctx, `SELECT COUNT(*) FROM jobs WHERE job_id = ?`, job.ID).Scan(&known); err != nil || known > 0 {
			return err
		}
		return insertWithQuestions(ctx, tx, job)
	})
	if err != nil {
		return fmt.Errorf("adopting job %s: %w", job.ID, err)
	}
	return nil
}

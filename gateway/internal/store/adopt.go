package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// Adopted says what Adopt found.
type Adopted struct {
	// New: the job was not known and now is.
	New bool
	// Ended is when a known job ended; zero for an open one.
	Ended time.Time
}

// Adopt writes a job that is on the log already, published by another producer than this store's outbox. A job that is known
// is left as it is.
func (s *SQL) Adopt(ctx context.Context, job Job) (Adopted, error) {
	var ended int64
	err := s.rowRead(ctx, `SELECT ended_ms FROM jobs WHERE job_id = ?`, job.ID).Scan(&ended) // nearly always it is one of ours, so that this is all
	if !errors.Is(err, sql.ErrNoRows) {
		if err != nil {
			err = fmt.Errorf("reading job %.64q: %w", job.ID, err)
		}
		return Adopted{Ended: fromMillis(ended)}, err
	}
	job.adopted = true
	var out Adopted
	row, err := jobRow(job, s.now())
	if err != nil {
		return Adopted{}, fmt.Errorf("adopting job %s: %w", job.ID, err)
	}
	err = s.inTx(ctx, func(tx *tx) error {
		out = Adopted{}
		n, err := tx.insert(ctx, insertJob, [][]any{row}, ` ON CONFLICT (job_id) DO NOTHING`) // another gateway may be as fast
		if err != nil || n == 0 {
			return err
		}
		out.New = true
		if err := ownAudio(ctx, tx, job.Tenant, job.Audio.SHA256, s.now()); err != nil {
			return err
		}
		_, err = tx.insert(ctx, insertQuestion, questionRows(job), "")
		return err
	})
	if err != nil {
		return Adopted{}, fmt.Errorf("adopting job %s: %w", job.ID, s.dialect.refused(err))
	}
	return out, nil
}

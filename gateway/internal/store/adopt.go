package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/batch"
)

// Adopted says what Adopt found.
type Adopted struct {
	// New: the job was not known and now is.
	New bool
	// Ended is when a known job ended; zero for an open one.
	Ended time.Time
}

const lookupTimeout = 30 * time.Second

// knownJob is whether a job is there, and when it ended; zero for an open one.
type knownJob struct {
	there bool
	ended time.Time
}

func (s *SQL) newLookups() *batch.Batcher[string, knownJob] {
	return batch.New(batch.Config[string, knownJob]{
		Max: maxIDs, Timeout: lookupTimeout, Write: s.lookUp, Alone: func(err error) bool { return errors.Is(err, ErrRefused) },
	})
}

// lookUp looks for jobs by their ids.
func (s *SQL) lookUp(ctx context.Context, ids []string) ([]knownJob, error) {
	found := make(map[string]knownJob, len(ids))
	in, args := s.dialect.oneOf("job_id", ids)
	err := s.queryRead(ctx, func(rows *sql.Rows) error {
		var id string
		var ended int64
		err := rows.Scan(&id, &ended)
		found[id] = knownJob{there: true, ended: fromMillis(ended)}
		return err
	}, `SELECT job_id, ended_ms FROM jobs WHERE `+in, args...)
	if err != nil {
		return nil, fmt.Errorf("looking for %d jobs, the first of them %.64q: %w", len(ids), ids[0], s.dialect.refused(err))
	}
	out := make([]knownJob, len(ids))
	for i, id := range ids {
		out[i] = found[id]
	}
	return out, nil
}

// Adopt writes a job that is on the log already, published by another producer than this store's outbox. A job that is known
// is left as it is. Calls at the same time look for their jobs together.
func (s *SQL) Adopt(ctx context.Context, job Job) (Adopted, error) {
	known, err := s.lookups.Do(ctx, job.ID) // nearly always it is one of ours, so that this is all
	if err != nil || known.there {
		return Adopted{Ended: known.ended}, err
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

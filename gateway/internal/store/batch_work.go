package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/larkstream/larkstream/gateway/client"
)

// BatchItems returns requests of a batch by line, those after the line given, in one of the states.
func (s *SQL) BatchItems(ctx context.Context, id string, after, limit int, states ...string) (items []BatchItem, err error) {
	args := []any{id, after}
	for _, state := range states {
		args = append(args, state)
	}
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		var it BatchItem
		err := rows.Scan(&it.N, &it.CustomID, &it.From, &it.Bytes, &it.State, &it.JobID, &it.Line)
		items = append(items, it)
		return err
	}, `SELECT n, custom_id, from_byte, bytes, state, job_id, line FROM batch_items WHERE batch_id = ? AND n > ? AND state IN (`+marks(len(states))+`) ORDER BY n LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("reading requests of batch %.64q: %w", id, err)
	}
	return items, nil
}

// EndedBatchItems returns the running requests of a batch whose jobs have ended or are gone.
func (s *SQL) EndedBatchItems(ctx context.Context, id string, limit int) (items []BatchItem, err error) {
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		it := BatchItem{State: BatchItemRunning}
		err := rows.Scan(&it.N, &it.CustomID, &it.JobID)
		items = append(items, it)
		return err
	}, `SELECT i.n, i.custom_id, i.job_id FROM batch_items AS i LEFT JOIN jobs AS j ON j.job_id = i.job_id
		WHERE i.batch_id = ? AND i.state = ? AND (j.ended_ms > 0 OR j.job_id IS NULL) ORDER BY i.n LIMIT ?`, id, BatchItemRunning, limit)
	if err != nil {
		return nil, fmt.Errorf("reading ended requests of batch %.64q: %w", id, err)
	}
	return items, nil
}

// BatchStart is a request with the job that it becomes.
type BatchStart struct {
	N   int
	Job Job
}

// StartBatchItems makes the jobs of pending requests, which wait for admission, and ends requests that become none, in one transaction. Those for which
// the limits of the tenant leave no room stay pending.
func (s *SQL) StartBatchItems(ctx context.Context, id string, starts []BatchStart, ends []BatchItem, limits client.TenantLimits) (done Started, err error) {
	_, err = s.changeBatch(ctx, id, "starting requests of", func(tx *tx, b *Batch) error {
		done = Started{}
		if b.State != BatchInProgress {
			return nil
		}
		jobs := make([]Job, len(starts))
		for i, st := range starts {
			jobs[i] = st.Job
			jobs[i].BatchID = id
		}
		limits.UploadBytesPerDay = 0 // the file has counted
		var err error
		done, err = startWaiting(ctx, tx, s.now(), jobs, limits, func(n int) (taken []int, err error) {
			for i, st := range starts[:n] {
				changed, err := tx.exec(ctx, `UPDATE batch_items SET state = ?, job_id = ? WHERE batch_id = ? AND n = ? AND state = ?`, BatchItemRunning, jobs[i].ID, id, st.N, BatchItemPending)
				if err != nil {
					return nil, err
				}
				if changed == 0 {
					continue
				}
				if err := ownAudio(ctx, tx, b.Tenant, jobs[i].Audio.SHA256, s.now()); err != nil {
					return nil, err
				}
				taken = append(taken, i)
			}
			return taken, nil
		})
		if err != nil {
			return err
		}
		b.Pending, b.Running = b.Pending-done.Jobs, b.Running+done.Jobs
		return settleItems(ctx, tx, b, ends)
	})
	return done, err
}

// SettleBatchItems ends requests with what stands in the output or in the errors. Those that have ended are left as they are.
func (s *SQL) SettleBatchItems(ctx context.Context, id string, ends []BatchItem) error {
	_, err := s.changeBatch(ctx, id, "settling requests of", func(tx *tx, b *Batch) error { return settleItems(ctx, tx, b, ends) })
	return err
}

// settleItems ends requests that are in the state from which their JobID tells that they come.
func settleItems(ctx context.Context, tx *tx, b *Batch, ends []BatchItem) error {
	for _, it := range ends {
		from, left := BatchItemPending, &b.Pending
		if it.JobID != "" {
			from, left = BatchItemRunning, &b.Running
		}
		n, err := tx.exec(ctx, `UPDATE batch_items SET state = ?, line = ? WHERE batch_id = ? AND n = ? AND state = ?`, it.State, it.Line, b.ID, it.N, from)
		if err != nil {
			return err
		}
		if n == 0 {
			continue
		}
		*left--
		switch it.State {
		case BatchItemCompleted:
			b.Completed++
		case BatchItemFailed:
			b.Failed++
		}
	}
	return nil
}

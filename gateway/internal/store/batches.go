package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// ErrBatchNotFound says that there is no such batch.
var ErrBatchNotFound = errors.New("batch not found")

// ErrBatchEnded says that a batch has ended otherwise than asked for.
var ErrBatchEnded = errors.New("batch has ended")

// BatchState is where a batch stands.
type BatchState string

// States of a batch. Expiring is in progress for users: its window is over, and its last jobs are being cancelled.
const (
	BatchValidating BatchState = "validating"
	BatchInProgress BatchState = "in_progress"
	BatchExpiring   BatchState = "expiring"
	BatchCancelling BatchState = "cancelling"
	BatchFinalizing BatchState = "finalizing"
	BatchCompleted  BatchState = "completed"
	BatchFailed     BatchState = "failed"
	BatchExpired    BatchState = "expired"
	BatchCancelled  BatchState = "cancelled"
)

// Terminal tells whether a batch in this state has ended.
func (s BatchState) Terminal() bool {
	return s == BatchCompleted || s == BatchFailed || s == BatchExpired || s == BatchCancelled
}

// BatchSpec is what was asked for.
type BatchSpec struct {
	Input    string            `json:"input"`
	Endpoint string            `json:"endpoint"`
	Window   string            `json:"window"`
	Metadata map[string]string `json:"metadata,omitempty"`
	// KeepS is how long output and errors are kept, in seconds.
	KeepS int64 `json:"keep_s"`
}

// BatchFault is why the file of a batch is refused.
type BatchFault struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Line    *int   `json:"line"`
	Param   string `json:"param,omitempty"`
}

// Batch is a file of requests and what has become of them.
type Batch struct {
	ID, Tenant string
	State      BatchState
	Spec       BatchSpec
	Faults     []BatchFault
	// Times are when the batch came into each state.
	Times                   map[BatchState]time.Time
	Created, Expires, Ended time.Time
	// Total counts the requests; Completed and Failed have an answer, in Output and Errors, files that are there in the end if they have lines.
	Total, Pending, Running, Completed, Failed int
	Output, Errors                             string
}

// ItemState values of a batch's items: pending and running as those of runs; written have a line in the output or in the errors.
const (
	BatchItemPending   = "pending"
	BatchItemRunning   = "running"
	BatchItemCompleted = "completed"
	BatchItemFailed    = "failed"
	// BatchItemLeft was not answered before its batch was cancelled or expired.
	BatchItemLeft = "left"
)

// BatchItem is one request of a batch.
type BatchItem struct {
	// N is the line, from 1.
	N        int
	CustomID string
	// From and Bytes are where the line lies in the input.
	From, Bytes int64
	State       string
	JobID       string
	// Line is what stands in the output or in the errors.
	Line string
}

const batchColumns = `batch_id, tenant, state, spec, faults, times, created_ms, expires_ms, ended_ms, total, pending, running, completed, failed, output, errors`

func scanBatch(row scanner) (Batch, error) {
	var b Batch
	var spec, faults, times string
	var created, expires, ended int64
	err := row.Scan(&b.ID, &b.Tenant, &b.State, &spec, &faults, &times, &created, &expires, &ended, &b.Total, &b.Pending, &b.Running, &b.Completed, &b.Failed, &b.Output, &b.Errors)
	if errors.Is(err, sql.ErrNoRows) {
		err = ErrBatchNotFound
	}
	if err != nil {
		return Batch{}, err
	}
	b.Created, b.Expires, b.Ended = fromMillis(created), fromMillis(expires), fromMillis(ended)
	return b, errors.Join(json.Unmarshal([]byte(spec), &b.Spec), json.Unmarshal([]byte(faults), &b.Faults), json.Unmarshal([]byte(times), &b.Times))
}

// asJSON is the form of lists and maps of texts, numbers and times, which always have one.
func asJSON(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		panic(err) // unreachable
	}
	return string(raw)
}

// CreateBatch writes a batch whose file is to be validated.
func (s *SQL) CreateBatch(ctx context.Context, b Batch) error {
	err := s.inTx(ctx, func(tx *tx) error {
		_, err := tx.insert(ctx, `batches (`+batchColumns+`, owner, lease_ms)`, [][]any{{
			b.ID, b.Tenant, string(BatchValidating), asJSON(b.Spec), "[]", "{}", millis(b.Created), millis(b.Expires), 0, 0, 0, 0, 0, 0, "", "", "", 0,
		}}, "")
		return err
	})
	if err != nil {
		return fmt.Errorf("creating batch: %w", err)
	}
	return nil
}

// GetBatch returns a batch, or ErrBatchNotFound.
func (s *SQL) GetBatch(ctx context.Context, id string) (Batch, error) {
	b, err := scanBatch(s.rowRead(ctx, `SELECT `+batchColumns+` FROM batches WHERE batch_id = ?`, id))
	if err != nil {
		return Batch{}, fmt.Errorf("reading batch %.64q: %w", id, err)
	}
	return b, nil
}

// ListBatches returns a tenant's batches, newest first.
func (s *SQL) ListBatches(ctx context.Context, tenant string, after Place, limit int) (batches []Batch, err error) {
	query, args := `SELECT `+batchColumns+` FROM batches WHERE tenant = ?`, []any{tenant}
	if after != (Place{}) {
		query, args = query+` AND (created_ms, batch_id) < (?, ?)`, append(args, millis(after.Created), after.ID)
	}
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		b, err := scanBatch(rows)
		batches = append(batches, b)
		return err
	}, query+` ORDER BY created_ms DESC, batch_id DESC LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("listing batches: %w", err)
	}
	return batches, nil
}

// LeadBatches takes the lead of open batches that nobody leads, up to limit, keeps the lead of those that owner leads already, and returns all of them.
// A lead lapses at until.
func (s *SQL) LeadBatches(ctx context.Context, owner string, until time.Time, limit int) (batches []Batch, err error) {
	if open, err := s.anyOpen(ctx, "batches"); err != nil || !open {
		return nil, err
	}
	err = s.inTx(ctx, func(tx *tx) error {
		batches = nil
		now := millis(s.now())
		return tx.each(ctx, func(rows *sql.Rows) error {
			b, err := scanBatch(rows)
			batches = append(batches, b)
			return err
		}, `UPDATE batches SET owner = ?, lease_ms = ? WHERE batch_id IN (
				SELECT batch_id FROM batches WHERE ended_ms = 0 AND (owner = ? OR lease_ms < ?) ORDER BY created_ms, batch_id LIMIT ?)
			AND (owner = ? OR lease_ms < ?) RETURNING `+batchColumns, owner, millis(until), owner, now, limit, owner, now)
	})
	if err != nil {
		return nil, fmt.Errorf("taking the lead of batches: %w", err)
	}
	return batches, nil
}

// lockBatch reads a batch so that no other transaction changes it before this one ends.
func lockBatch(ctx context.Context, tx *tx, id string) (Batch, error) {
	return scanBatch(tx.row(ctx, `SELECT `+batchColumns+` FROM batches WHERE batch_id = ?`+tx.dialect.lock, id))
}

// writeBatch writes what changes of a batch.
func (s *SQL) writeBatch(ctx context.Context, tx *tx, b Batch) error {
	_, err := tx.exec(ctx, `UPDATE batches SET state = ?, faults = ?, times = ?, ended_ms = ?, total = ?, pending = ?, running = ?, completed = ?, failed = ?, output = ?, errors = ? WHERE batch_id = ?`,
		string(b.State), asJSON(b.Faults), asJSON(b.Times), millis(b.Ended), b.Total, b.Pending, b.Running, b.Completed, b.Failed, b.Output, b.Errors, b.ID)
	return err
}

// enter brings a batch into a state.
func (b *Batch) enter(state BatchState, at time.Time) {
	if b.Times == nil {
		b.Times = make(map[BatchState]time.Time)
	}
	if b.State = state; b.Times[state].IsZero() {
		b.Times[state] = at
	}
	if state.Terminal() {
		b.Ended = at
	}
}

// changeBatch changes a batch in one transaction and returns it as it then is.
func (s *SQL) changeBatch(ctx context.Context, id, doing string, change func(*tx, *Batch) error) (b Batch, err error) {
	err = s.inTx(ctx, func(tx *tx) error {
		if b, err = lockBatch(ctx, tx, id); err != nil {
			return err
		}
		if err := change(tx, &b); err != nil {
			return err
		}
		return s.writeBatch(ctx, tx, b)
	})
	if err != nil {
		return Batch{}, fmt.Errorf("%s batch %.64q: %w", doing, id, err)
	}
	return b, nil
}

// AddBatchItems adds requests to a batch that is being validated. What is there already changes nothing.
func (s *SQL) AddBatchItems(ctx context.Context, id string, items []BatchItem) error {
	_, err := s.changeBatch(ctx, id, "adding requests to", func(tx *tx, b *Batch) error {
		if b.State != BatchValidating {
			return nil
		}
		rows := make([][]any, len(items))
		for i, it := range items {
			rows[i] = []any{id, it.N, it.CustomID, it.From, it.Bytes, BatchItemPending, "", ""}
		}
		_, err := tx.insert(ctx, `batch_items (batch_id, n, custom_id, from_byte, bytes, state, job_id, line)`, rows, `ON CONFLICT (batch_id, n) DO NOTHING`)
		return err
	})
	return err
}

// ValidBatch ends the validation of a batch: it is in progress, or has failed if there are faults.
func (s *SQL) ValidBatch(ctx context.Context, id string, total int, faults []BatchFault) (Batch, error) {
	return s.changeBatch(ctx, id, "validating", func(_ *tx, b *Batch) error {
		if b.State != BatchValidating {
			return nil
		}
		if b.Faults = faults; len(faults) > 0 {
			b.enter(BatchFailed, s.now())
			return nil
		}
		b.Total, b.Pending = total, total
		b.enter(BatchInProgress, s.now())
		return nil
	})
}

// StopBatch begins no more requests of a batch: state is BatchCancelling or BatchExpiring. What has an answer keeps it. Stopping again changes nothing.
func (s *SQL) StopBatch(ctx context.Context, id string, state BatchState) (Batch, error) {
	return s.changeBatch(ctx, id, "stopping", func(tx *tx, b *Batch) error {
		switch {
		case b.State == BatchCancelling, b.State == BatchCancelled, b.State == BatchExpiring:
			return nil
		case b.State.Terminal(), b.State == BatchFinalizing:
			return fmt.Errorf("%w: it is %s", ErrBatchEnded, b.State)
		case b.State == BatchValidating: // its requests were never counted
			if _, err := tx.exec(ctx, `DELETE FROM batch_items WHERE batch_id = ?`, id); err != nil {
				return err
			}
		default:
			if _, err := tx.exec(ctx, `UPDATE batch_items SET state = ? WHERE batch_id = ? AND state = ?`, BatchItemLeft, id, BatchItemPending); err != nil {
				return err
			}
		}
		b.Pending = 0
		b.enter(state, s.now())
		return nil
	})
}

// FinalizeBatch brings a batch whose requests have all ended to the writing of its files.
func (s *SQL) FinalizeBatch(ctx context.Context, id string) (Batch, error) {
	return s.changeBatch(ctx, id, "finalizing", func(_ *tx, b *Batch) error {
		if b.Pending+b.Running == 0 && !b.State.Terminal() && b.State != BatchValidating && b.State != BatchFinalizing {
			b.enter(BatchFinalizing, s.now())
		}
		return nil
	})
}

// EndBatch ends a batch whose files are written, and notes the files.
func (s *SQL) EndBatch(ctx context.Context, id string, output, faults *File) (Batch, error) {
	return s.changeBatch(ctx, id, "ending", func(tx *tx, b *Batch) error {
		if b.State != BatchFinalizing {
			return nil
		}
		for to, f := range map[*string]*File{&b.Output: output, &b.Errors: faults} {
			if f == nil {
				continue
			}
			if *to = f.ID; f.ID != "" {
				if err := insertFile(ctx, tx, *f); err != nil {
					return err
				}
			}
		}
		state := BatchCompleted
		if !b.Times[BatchCancelling].IsZero() {
			state = BatchCancelled
		} else if !b.Times[BatchExpiring].IsZero() {
			state = BatchExpired
		}
		b.enter(state, s.now())
		return nil
	})
}

// DeleteBatches deletes up to limit batches of a tenant that ended before a time, and returns how many there were.
func (s *SQL) DeleteBatches(ctx context.Context, tenant string, before time.Time, limit int) (n int, err error) {
	err = s.inTx(ctx, func(tx *tx) error {
		gone, err := tx.exec(ctx, `DELETE FROM batches WHERE batch_id IN (SELECT batch_id FROM batches WHERE tenant = ? AND ended_ms > 0 AND ended_ms < ? ORDER BY ended_ms LIMIT ?)`,
			tenant, millis(before), limit)
		n = int(gone)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("deleting old batches: %w", err)
	}
	return n, nil
}

package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"math"
)

// Vector is the pooled embedding of a track, of length 1.
type Vector struct {
	// Space names the encoder and its weights. Only vectors of one space can be compared.
	Space  string
	Values []float32
}

// ItemVector is the vector of an item.
type ItemVector struct {
	N      int
	ItemID string
	Vector
}

// EndedItem is an item whose job has ended and which is to be settled.
type EndedItem struct {
	N     int
	JobID string
	// Windows are the hashes of the windows of an item that was answered about, in whole or in part. Isolated: their embeddings are kept for the tenant alone.
	Windows  []string
	Isolated bool
	// Vector is for the caller to set before SettleItems; nil for none.
	Vector *Vector
}

// EndedItems returns items whose jobs have ended and which are not settled, up to limit.
func (s *SQL) EndedItems(ctx context.Context, runID string, limit int) (items []EndedItem, err error) {
	at := make(map[string]int) // of items by job
	var jobs []string
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		var it EndedItem
		var state string
		if err := rows.Scan(&it.N, &it.JobID, &state, &it.Isolated); err != nil {
			return err
		}
		if state == string(Succeeded) || state == string(Partial) {
			at[it.JobID] = len(items)
			jobs = append(jobs, it.JobID)
		}
		items = append(items, it)
		return nil
	}, `SELECT i.n, i.job_id, COALESCE(j.state, ''), COALESCE(j.isolated, FALSE) FROM run_items AS i LEFT JOIN jobs AS j ON j.job_id = i.job_id
		WHERE i.run_id = ? AND i.state = ? AND (j.ended_ms > 0 OR j.job_id IS NULL) ORDER BY i.n LIMIT ?`, runID, string(ItemRunning), limit)
	if err == nil && len(jobs) > 0 {
		in, args := s.dialect.oneOf("job_id", jobs)
		err = s.queryRead(ctx, func(rows *sql.Rows) error {
			var job, hash string
			if err := rows.Scan(&job, &hash); err != nil {
				return err
			}
			it := &items[at[job]]
			it.Windows = append(it.Windows, hash)
			return nil
		}, `SELECT job_id, hash FROM plan_windows WHERE `+in+` ORDER BY job_id, idx`, args...)
	}
	if err != nil {
		return nil, fmt.Errorf("reading ended items of run %.64q: %w", runID, err)
	}
	return items, nil
}

// keep writes the vectors of settled items.
func (w *itemWork) keep(ctx context.Context, items []EndedItem) error {
	var rows [][]any
	for _, it := range items {
		if it.Vector != nil {
			rows = append(rows, []any{w.run, it.N, it.Vector.Space, floatBytes(it.Vector.Values)})
		}
	}
	_, err := w.tx.insert(ctx, `run_vectors (run_id, n, space, vector)`, rows, ` ON CONFLICT (run_id, n) DO UPDATE SET space = excluded.space, vector = excluded.vector`)
	return err
}

// Vectors returns vectors of a run's items by number, those after the number given.
func (s *SQL) Vectors(ctx context.Context, runID string, after, limit int) (all []ItemVector, err error) {
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		var v ItemVector
		var raw []byte
		err := rows.Scan(&v.N, &v.ItemID, &v.Space, &raw)
		v.Values = floatsOf(raw)
		all = append(all, v)
		return err
	}, `SELECT v.n, i.item_id, v.space, v.vector FROM run_vectors AS v JOIN run_items AS i ON i.run_id = v.run_id AND i.n = v.n WHERE v.run_id = ? AND v.n > ? ORDER BY v.n LIMIT ?`,
		runID, after, limit)
	if err != nil {
		return nil, fmt.Errorf("reading vectors of run %.64q: %w", runID, err)
	}
	return all, nil
}

// EachVector hands vectors of a run's items to fn in the order of the items, those after the number given, up to limit, and returns how many. values is the vector in
// little-endian float32, during the call only.
func (s *SQL) EachVector(ctx context.Context, runID string, after, limit int, fn func(n int, space string, values []byte)) (read int, err error) {
	var n int
	var space string
	var values sql.RawBytes
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		if err := rows.Scan(&n, &space, &values); err != nil {
			return err
		}
		read++
		fn(n, space, values)
		return nil
	}, `SELECT n, space, vector FROM run_vectors WHERE run_id = ? AND n > ? ORDER BY n LIMIT ?`, runID, after, limit)
	if err != nil {
		return 0, fmt.Errorf("reading vectors of run %.64q: %w", runID, err)
	}
	return read, nil
}

func floatBytes(values []float32) []byte {
	raw := make([]byte, 0, 4*len(values))
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return raw
}

func floatsOf(raw []byte) []float32 {
	values := make([]float32, len(raw)/4)
	for i := range values {
		values[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
	return values
}

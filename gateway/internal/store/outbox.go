package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/larkstream/larkstream/shared/event"
)

// enqueue puts records into the outbox. Ids are version-7 UUIDs, which one process makes in rising
// order, so that the outbox is read in the order in which it was written.
func enqueue(ctx context.Context, tx *tx, records []event.Record, now time.Time) error {
	for _, rec := range records {
		headers, err := json.Marshal(rec.Headers)
		if err != nil {
			return err
		}
		id, err := uuid.NewV7()
		if err != nil {
			return err
		}
		value := rec.Value
		if value == nil {
			value = []byte{} // an empty message, not a tombstone
		}
		_, err = tx.exec(ctx, `INSERT INTO outbox (outbox_id, topic, record_key, headers, value, created_ms, job_id) VALUES (?, ?, ?, ?, ?, ?, ?)`,
			id.String(), rec.Topic, []byte(rec.Key), string(headers), value, millis(now), rec.Get(event.HeaderSubject))
		if err != nil {
			return err
		}
	}
	return nil
}

// Pending returns up to limit records of the outbox, oldest first.
func (s *SQL) Pending(ctx context.Context, limit int) ([]Outgoing, error) {
	var out []Outgoing
	err := s.queryRead(ctx, func(rows *sql.Rows) error {
		var o Outgoing
		var key []byte
		var headers string
		var created int64
		if err := rows.Scan(&o.ID, &o.Record.Topic, &key, &headers, &o.Record.Value, &created); err != nil {
			return err
		}
		o.Record.Key, o.Created = string(key), fromMillis(created)
		if err := json.Unmarshal([]byte(headers), &o.Record.Headers); err != nil {
			return err
		}
		out = append(out, o)
		return nil
	}, `SELECT outbox_id, topic, record_key, headers, value, created_ms FROM outbox ORDER BY outbox_id LIMIT ?`, limit)
	if err != nil {
		return nil, fmt.Errorf("reading outbox: %w", err)
	}
	return out, nil
}

// Sent removes records that the broker has acknowledged.
func (s *SQL) Sent(ctx context.Context, sent []Outgoing) error {
	err := s.inTx(ctx, func(tx *tx) error {
		for _, o := range sent {
			if _, err := tx.exec(ctx, `DELETE FROM outbox WHERE outbox_id = ?`, o.ID); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("clearing outbox: %w", err)
	}
	return nil
}

// OutboxDepth returns how many records wait and since when the oldest does.
func (s *SQL) OutboxDepth(ctx context.Context) (n int, oldest time.Time, err error) {
	var ms int64
	err = s.rowRead(ctx, `SELECT COUNT(*), COALESCE(MIN(created_ms), 0) FROM outbox`).Scan(&n, &ms)
	if err != nil {
		return 0, time.Time{}, fmt.Errorf("reading outbox: %w", err)
	}
	return n, fromMillis(ms), nil
}

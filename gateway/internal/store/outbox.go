package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/larkstream/larkstream/shared/event"
)

const insertOutbox = `outbox (outbox_id, topic, record_key, headers, value, created_ms, job_id)`

// enqueue puts records into the outbox.
func enqueue(ctx context.Context, tx *tx, records []event.Record, now time.Time) error {
	rows, err := outboxRows(records, now)
	if err != nil {
		return err
	}
	_, err = tx.insert(ctx, insertOutbox, rows, "")
	return err
}

// outboxRows makes the rows of records. Ids are version-7 UUIDs, which one process makes in rising order, so that what one gateway has written is
// published in the order in which it was written.
func outboxRows(records []event.Record, now time.Time) (rows [][]any, err error) {
	for _, rec := range records {
		headers, err := json.Marshal(rec.Headers)
		if err != nil {
			return nil, err
		}
		id, err := uuid.NewV7()
		if err != nil {
			return nil, err
		}
		value := rec.Value
		if value == nil {
			value = []byte{} // an empty message, not a tombstone
		}
		rows = append(rows, []any{id.String(), rec.Topic, []byte(rec.Key), string(headers), value, millis(now), rec.Get(event.HeaderSubject)})
	}
	return rows, nil
}

// relayTimeout bounds the transaction in which a gateway holds records of the outbox. publish bounds itself more tightly.
const relayTimeout = time.Minute

// Relay hands up to limit records of the outbox to publish, the oldest first, and removes them when it succeeds. It returns how many there were.
// No two gateways on PostgreSQL are given the same records at once: the rows are locked meanwhile, and free again when a gateway dies. SQLite has
// one gateway, and its only writer must not be held while the broker is waited for.
func (s *SQL) Relay(ctx context.Context, limit int, publish func([]Outgoing) error) (n int, err error) {
	if s.dialect.claim == "" {
		pending, err := s.Pending(ctx, limit)
		if err != nil || len(pending) == 0 {
			return 0, err
		}
		if err := publish(pending); err != nil {
			return 0, err
		}
		// The broker has them: removing them must not be cut short by a shutdown.
		return len(pending), s.Sent(context.WithoutCancel(ctx), pending)
	}
	held, cancel := context.WithTimeout(context.WithoutCancel(ctx), relayTimeout)
	defer cancel()
	raw, err := s.write.BeginTx(held, nil)
	if err != nil {
		return 0, fmt.Errorf("reading outbox: %w", s.dialect.mark(err))
	}
	tx := &tx{Tx: raw, dialect: s.dialect}
	pending, err := pendingIn(held, tx, limit)
	if err == nil && len(pending) > 0 {
		if err = publish(pending); err == nil {
			err = removeSent(held, tx, pending)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("passing on the outbox: %w", s.dialect.mark(errors.Join(err, ignoreDone(raw.Rollback()))))
	}
	if err := raw.Commit(); err != nil {
		return 0, fmt.Errorf("clearing outbox: %w", s.dialect.mark(err))
	}
	return len(pending), nil
}

const oldestPending = `SELECT outbox_id, topic, record_key, headers, value, created_ms FROM outbox ORDER BY outbox_id LIMIT ?`

func pendingIn(ctx context.Context, tx *tx, limit int) (out []Outgoing, err error) {
	err = tx.each(ctx, func(rows *sql.Rows) error {
		o, err := scanOutgoing(rows)
		out = append(out, o)
		return err
	}, oldestPending+tx.dialect.claim, limit)
	return out, err
}

func scanOutgoing(row scanner) (o Outgoing, err error) {
	var key []byte
	var headers string
	var created int64
	if err := row.Scan(&o.ID, &o.Record.Topic, &key, &headers, &o.Record.Value, &created); err != nil {
		return o, err
	}
	o.Record.Key, o.Created = string(key), fromMillis(created)
	return o, json.Unmarshal([]byte(headers), &o.Record.Headers)
}

// Pending returns up to limit records of the outbox, oldest first.
func (s *SQL) Pending(ctx context.Context, limit int) ([]Outgoing, error) {
	var out []Outgoing
	err := s.queryRead(ctx, func(rows *sql.Rows) error {
		o, err := scanOutgoing(rows)
		out = append(out, o)
		return err
	}, oldestPending, limit)
	if err != nil {
		return nil, fmt.Errorf("reading outbox: %w", err)
	}
	return out, nil
}

// Sent removes records that the broker has acknowledged.
func (s *SQL) Sent(ctx context.Context, sent []Outgoing) error {
	err := s.inTx(ctx, func(tx *tx) error { return removeSent(ctx, tx, sent) })
	if err != nil {
		return fmt.Errorf("clearing outbox: %w", err)
	}
	return nil
}

func removeSent(ctx context.Context, tx *tx, sent []Outgoing) error {
	ids := make([]string, len(sent))
	for i, o := range sent {
		ids[i] = o.ID
	}
	for some := range slices.Chunk(ids, maxIDs) {
		in, args := tx.dialect.oneOf("outbox_id", some)
		if _, err := tx.exec(ctx, `DELETE FROM outbox WHERE `+in, args...); err != nil {
			return err
		}
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

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/larkstream/larkstream/gateway/client"
)

// ErrNoDelivery says that an endpoint has no such delivery.
var ErrNoDelivery = errors.New("delivery not found")

// Delivery is one message to one endpoint.
type Delivery struct {
	ID, Endpoint, Message string
	Event, Subject        string
	URL, Body             string
	State                 string
	// Attempts that were begun, this one among them while it is claimed.
	Attempts             int
	Next, Created, Ended time.Time
	// Log holds the last attempts, the last one last.
	Log []client.DeliveryAttempt
}

// deliveryLog is how many attempts the log keeps.
const deliveryLog = 20

const deliveryColumns = `delivery_id, endpoint_id, message_id, event, subject, url, body, state, attempts, next_ms, created_ms, ended_ms, log`

func scanDelivery(row scanner) (Delivery, error) {
	var d Delivery
	var log string
	var next, made, ended int64
	err := row.Scan(&d.ID, &d.Endpoint, &d.Message, &d.Event, &d.Subject, &d.URL, &d.Body, &d.State, &d.Attempts, &next, &made, &ended, &log)
	if errors.Is(err, sql.ErrNoRows) {
		return Delivery{}, ErrNoDelivery
	}
	if err != nil {
		return Delivery{}, err
	}
	d.Next, d.Created, d.Ended = fromMillis(next), fromMillis(made), fromMillis(ended)
	return d, json.Unmarshal([]byte(log), &d.Log)
}

// DueWebhooks returns up to limit endpoints that have deliveries to be made now, in an order that is another one each time: none is always the last.
func (s *SQL) DueWebhooks(ctx context.Context, limit int) (due []Webhook, err error) {
	now := millis(s.now())
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		w, err := scanWebhook(rows)
		due = append(due, w)
		return err
	}, `SELECT `+webhookColumns+` FROM webhook_endpoints e WHERE disabled = '' AND pause_ms <= ?
		AND EXISTS (SELECT 1 FROM webhook_deliveries d WHERE d.endpoint_id = e.endpoint_id AND d.state = 'pending' AND d.next_ms <= ?) ORDER BY RANDOM() LIMIT ?`, now, now, limit)
	if err != nil {
		return nil, fmt.Errorf("looking for webhooks to be delivered: %w", err)
	}
	return due, nil
}

// ClaimDeliveries takes up to limit due deliveries of an endpoint, the longest due first, and counts an attempt of each. No two gateways are given the
// same delivery until lease has passed: after that the gateway that had it is taken for dead.
func (s *SQL) ClaimDeliveries(ctx context.Context, endpoint string, lease time.Duration, limit int) (claimed []Delivery, err error) {
	err = s.inTx(ctx, func(tx *tx) error {
		claimed = nil
		now := s.now()
		return tx.each(ctx, func(rows *sql.Rows) error {
			d, err := scanDelivery(rows)
			claimed = append(claimed, d)
			return err
		}, `UPDATE webhook_deliveries SET attempts = attempts + 1, next_ms = ? WHERE delivery_id IN (
				SELECT delivery_id FROM webhook_deliveries WHERE endpoint_id = ? AND state = 'pending' AND next_ms <= ? ORDER BY next_ms, delivery_id LIMIT ?`+tx.dialect.claim+`)
			RETURNING `+deliveryColumns, millis(now.Add(lease)), endpoint, millis(now), limit)
	})
	if err != nil {
		return nil, fmt.Errorf("claiming deliveries of webhook %s: %w", endpoint, err)
	}
	return claimed, nil
}

// DeliveryResult is how an attempt went, and what follows from it.
type DeliveryResult struct {
	Attempt client.DeliveryAttempt
	// Delivered: the endpoint has taken it. Otherwise it is tried again at Again, or given up if that is zero.
	Delivered bool
	Again     time.Time
	// Disable ends the endpoint with this reason.
	Disable string
	// Pause is how long nothing is sent to the endpoint after so many failures in a row, since the first of them.
	Pause func(failures int, since time.Time) (pause time.Duration, disable string)
}

// SettleDelivery notes how an attempt went. A delivery that somebody else has claimed meanwhile, or that is gone, is left alone, unless it was delivered.
func (s *SQL) SettleDelivery(ctx context.Context, d Delivery, res DeliveryResult) error {
	err := s.inTx(ctx, func(tx *tx) error {
		now := s.now()
		log := append(d.Log[max(0, len(d.Log)-deliveryLog+1):len(d.Log):len(d.Log)], res.Attempt)
		text, err := json.Marshal(log)
		if err != nil {
			return err
		}
		state, next, ended := client.DeliveryPending, res.Again, time.Time{}
		if res.Delivered {
			state, ended = client.DeliveryDelivered, now
		} else if res.Again.IsZero() {
			state, ended = client.DeliveryFailed, now
		}
		n, err := tx.exec(ctx, `UPDATE webhook_deliveries SET state = ?, next_ms = ?, ended_ms = ?, log = ? WHERE delivery_id = ? AND state = 'pending' AND (attempts = ? OR ?)`,
			state, millis(next), millis(ended), string(text), d.ID, d.Attempts, res.Delivered)
		if err != nil || n == 0 {
			return err
		}
		if res.Delivered {
			_, err := tx.exec(ctx, `UPDATE webhook_endpoints SET failures = 0, failing_ms = 0, pause_ms = 0 WHERE endpoint_id = ? AND failures > 0`, d.Endpoint)
			return err
		}
		return noteFailure(ctx, tx, d.Endpoint, res, now)
	})
	if err != nil {
		return fmt.Errorf("noting delivery %s: %w", d.ID, err)
	}
	return nil
}

func noteFailure(ctx context.Context, tx *tx, endpoint string, res DeliveryResult, now time.Time) error {
	var failures int
	var failing int64
	err := tx.row(ctx, `UPDATE webhook_endpoints SET failures = failures + 1, failing_ms = CASE WHEN failing_ms = 0 THEN ? ELSE failing_ms END WHERE endpoint_id = ?
		RETURNING failures, failing_ms`, millis(now), endpoint).Scan(&failures, &failing)
	if errors.Is(err, sql.ErrNoRows) {
		return nil // deleted meanwhile
	}
	if err != nil {
		return err
	}
	pause, disable := res.Pause(failures, fromMillis(failing))
	if res.Disable != "" {
		disable = res.Disable
	}
	if pause > 0 {
		if _, err := tx.exec(ctx, `UPDATE webhook_endpoints SET pause_ms = ? WHERE endpoint_id = ?`, millis(now.Add(pause)), endpoint); err != nil {
			return err
		}
	}
	if disable == "" {
		return nil
	}
	if _, err := tx.exec(ctx, `UPDATE webhook_endpoints SET disabled = ? WHERE endpoint_id = ?`, disable, endpoint); err != nil {
		return err
	}
	return failPending(ctx, tx, endpoint, now)
}

// failPending gives up what is still to be delivered to an endpoint. It can be replayed.
func failPending(ctx context.Context, tx *tx, endpoint string, now time.Time) error {
	_, err := tx.exec(ctx, `UPDATE webhook_deliveries SET state = 'failed', ended_ms = ? WHERE endpoint_id = ? AND state = 'pending'`, millis(now), endpoint)
	return err
}

// Deliveries returns up to limit deliveries of an endpoint, newest first, before an id; state "" is all, before "" is from the newest.
func (s *SQL) Deliveries(ctx context.Context, endpoint, state, before string, limit int) (found []Delivery, err error) {
	query, args := `SELECT `+deliveryColumns+` FROM webhook_deliveries WHERE endpoint_id = ?`, []any{endpoint}
	if state != "" {
		query, args = query+` AND state = ?`, append(args, state)
	}
	if before != "" {
		query, args = query+` AND delivery_id < ?`, append(args, before)
	}
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		d, err := scanDelivery(rows)
		found = append(found, d)
		return err
	}, query+` ORDER BY delivery_id DESC LIMIT ?`, append(args, limit)...)
	if err != nil {
		return nil, fmt.Errorf("listing deliveries: %w", err)
	}
	return found, nil
}

// Replay selects deliveries of an endpoint that are not pending.
type Replay struct {
	// IDs of deliveries or of messages; none = those created from Since until before Until.
	IDs          []string
	Since, Until time.Time
	// Delivered ones too, not only the failed ones; those of IDs always are.
	Delivered bool
}

// ReplayDeliveries makes deliveries due once more, with the ids that they had, and returns how many.
func (s *SQL) ReplayDeliveries(ctx context.Context, endpoint string, which Replay) (n int, err error) {
	where, args := ` AND created_ms >= ? AND created_ms < ?`, []any{millis(which.Since), millis(which.Until)}
	if len(which.IDs) > 0 {
		where, args = ` AND (delivery_id IN (`+marks(len(which.IDs))+`) OR message_id IN (`+marks(len(which.IDs))+`))`, nil
		for range 2 {
			for _, id := range which.IDs {
				args = append(args, id)
			}
		}
	} else if !which.Delivered {
		where += ` AND state = 'failed'`
	}
	err = s.inTx(ctx, func(tx *tx) error {
		rows, err := tx.exec(ctx, `UPDATE webhook_deliveries SET state = 'pending', attempts = 0, next_ms = ?, ended_ms = 0 WHERE endpoint_id = ? AND state <> 'pending'`+where,
			append([]any{millis(s.now()), endpoint}, args...)...)
		n = int(rows)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("replaying deliveries: %w", err)
	}
	return n, nil
}

// TestWebhook writes a test message to an endpoint and returns its delivery.
func (s *SQL) TestWebhook(ctx context.Context, w Webhook) (d Delivery, err error) {
	err = s.inTx(ctx, func(tx *tx) error {
		now := s.now()
		body, err := json.Marshal(client.WebhookMessage{Type: client.EventTest, Timestamp: now.UTC()})
		if err != nil {
			return err
		}
		message, err := uuid.NewV7()
		if err != nil {
			return err
		}
		id, err := s.noticesIn(tx).deliver(ctx, hook{endpoint: w.ID, url: w.URL}, "msg_"+message.String(), notice{event: client.EventTest}, body)
		if err != nil {
			return err
		}
		d, err = scanDelivery(tx.row(ctx, `SELECT `+deliveryColumns+` FROM webhook_deliveries WHERE delivery_id = ?`, id))
		return err
	})
	if err != nil {
		return Delivery{}, fmt.Errorf("testing webhook %s: %w", w.ID, err)
	}
	return d, nil
}

// ForgetDeliveries deletes up to limit deliveries that were created before a time and are not pending, and returns how many.
func (s *SQL) ForgetDeliveries(ctx context.Context, before time.Time, limit int) (n int, err error) {
	err = s.inTx(ctx, func(tx *tx) error {
		rows, err := tx.exec(ctx, `DELETE FROM webhook_deliveries WHERE delivery_id IN (
			SELECT delivery_id FROM webhook_deliveries WHERE created_ms < ? AND state <> 'pending' ORDER BY created_ms LIMIT ?`+tx.dialect.claim+`)`, millis(before), limit)
		n = int(rows)
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("deleting old deliveries: %w", err)
	}
	return n, nil
}

// WebhookBacklog is what is still to be delivered, and to whom nothing can be.
type WebhookBacklog struct {
	// Pending deliveries, CountedDeliveries at most, and when the oldest of them was made; those of disabled endpoints are none of them.
	Pending int
	Oldest  time.Time
	// Due is since when a delivery has been due, the longest of all, at an endpoint that takes what it is sent: one whose last delivery has failed is left alone.
	Due time.Time
	// Failing and Disabled count endpoints: whose last delivery has failed, and which the gateway has disabled.
	Failing, Disabled int
}

// CountedDeliveries is how many pending deliveries are counted: with more, there are that many at the least.
const CountedDeliveries = 10_000

// The questions to the database about the backlog. Pending deliveries are found by index, and no others are read; of endpoints there are few.
const (
	howManyPending = `SELECT COUNT(*) FROM (SELECT 1 FROM webhook_deliveries WHERE state = 'pending' LIMIT ?) AS first`
	oldestDelivery = `SELECT COALESCE(MIN(created_ms), 0) FROM webhook_deliveries WHERE state = 'pending'`
	longestDue     = `SELECT COALESCE(MIN((SELECT MIN(d.next_ms) FROM webhook_deliveries d WHERE d.endpoint_id = e.endpoint_id AND d.state = 'pending')), 0)
		FROM webhook_endpoints e WHERE e.disabled = '' AND e.failures = 0`
	silentEndpoints = `SELECT COUNT(CASE WHEN disabled = '' AND failures > 0 THEN 1 END), COUNT(CASE WHEN disabled NOT IN ('', ?) THEN 1 END) FROM webhook_endpoints`
)

// WebhookBacklog reads the backlog of all tenants.
func (s *SQL) WebhookBacklog(ctx context.Context) (b WebhookBacklog, err error) {
	var oldest, due int64
	for query, into := range map[string]struct{ args, to []any }{
		howManyPending:  {[]any{CountedDeliveries}, []any{&b.Pending}},
		oldestDelivery:  {nil, []any{&oldest}},
		longestDue:      {nil, []any{&due}},
		silentEndpoints: {[]any{DisabledByOwner}, []any{&b.Failing, &b.Disabled}},
	} {
		if err := s.rowRead(ctx, query, into.args...).Scan(into.to...); err != nil {
			return WebhookBacklog{}, fmt.Errorf("reading the backlog of webhooks: %w", err)
		}
	}
	b.Oldest = fromMillis(oldest)
	if due <= millis(s.now()) {
		b.Due = fromMillis(due)
	}
	return b, nil
}

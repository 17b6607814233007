package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/google/uuid"
)

// Errors that callers tell apart.
var (
	ErrNoWebhook       = errors.New("webhook not found")
	ErrTooManyWebhooks = errors.New("tenant has too many webhooks")
)

// MaxWebhooks is how many endpoints a tenant may have, those of its jobs among them.
const MaxWebhooks = 50

// DisabledByOwner is why an endpoint is disabled that its owner has disabled. Every other reason is the gateway's.
const DisabledByOwner = "disabled by its owner"

// Signing is a pair of secrets that messages of an endpoint are signed with.
type Signing struct {
	// Secret is whsec_ and the base64 of an HMAC key; Private is the base64 of the seed of an ed25519 key.
	Secret  string `json:"secret"`
	Private string `json:"private"`
	// UntilMS is when it stops being used, in ms since 1970; 0 for the current one.
	UntilMS int64 `json:"until_ms,omitempty"`
}

// Works tells whether messages are signed with it at a time.
func (s Signing) Works(at time.Time) bool { return s.UntilMS == 0 || at.UnixMilli() < s.UntilMS }

// Webhook is an endpoint: where a tenant is told what has happened.
type Webhook struct {
	ID, Tenant string
	// URL that messages are sent to; OfJobs: jobs bring URLs along that have this scheme and host.
	URL         string
	OfJobs      bool
	Events      []string
	Description string
	Signing     []Signing // the current one first
	// Disabled says why nothing is sent; empty while messages are sent.
	Disabled string
	// Failures counts the failed deliveries in a row, the first of them at Failing. Nothing is sent before Pause.
	Failures       int
	Failing, Pause time.Time
	Created        time.Time
	// Pending counts the deliveries to be made. Webhook and Webhooks fill it.
	Pending int
}

const webhookColumns = `endpoint_id, tenant, url, of_jobs, events, description, signing, disabled, failures, failing_ms, pause_ms, created_ms`

func scanWebhook(row scanner, more ...any) (Webhook, error) {
	var w Webhook
	var events, signing string
	var failing, pause, made int64
	err := row.Scan(append([]any{&w.ID, &w.Tenant, &w.URL, &w.OfJobs, &events, &w.Description, &signing, &w.Disabled, &w.Failures, &failing, &pause, &made}, more...)...)
	if errors.Is(err, sql.ErrNoRows) {
		return Webhook{}, ErrNoWebhook
	}
	if err != nil {
		return Webhook{}, err
	}
	w.Events = strings.Fields(events)
	w.Failing, w.Pause, w.Created = fromMillis(failing), fromMillis(pause), fromMillis(made)
	return w, json.Unmarshal([]byte(signing), &w.Signing)
}

const pendingOf = `(SELECT COUNT(*) FROM webhook_deliveries d WHERE d.endpoint_id = webhook_endpoints.endpoint_id AND d.state = 'pending')`

// Webhook returns an endpoint of a tenant, or ErrNoWebhook.
func (s *SQL) Webhook(ctx context.Context, tenant, id string) (Webhook, error) {
	var pending int
	w, err := scanWebhook(s.rowRead(ctx, `SELECT `+webhookColumns+`, `+pendingOf+` FROM webhook_endpoints WHERE tenant = ? AND endpoint_id = ?`, tenant, id), &pending)
	if err != nil {
		return Webhook{}, fmt.Errorf("reading webhook %.64q: %w", id, err)
	}
	w.Pending = pending
	return w, nil
}

// Webhooks returns up to limit endpoints of a tenant by id, after an id.
func (s *SQL) Webhooks(ctx context.Context, tenant, after string, limit int) (found []Webhook, err error) {
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		var pending int
		w, err := scanWebhook(rows, &pending)
		w.Pending = pending
		found = append(found, w)
		return err
	}, `SELECT `+webhookColumns+`, `+pendingOf+` FROM webhook_endpoints WHERE tenant = ? AND endpoint_id > ? ORDER BY endpoint_id LIMIT ?`, tenant, after, limit)
	if err != nil {
		return nil, fmt.Errorf("listing webhooks: %w", err)
	}
	return found, nil
}

// CreateWebhook writes a new endpoint and returns it. An endpoint of jobs that is there already is returned as it is. It fails with ErrNoTenant and
// ErrTooManyWebhooks.
func (s *SQL) CreateWebhook(ctx context.Context, w Webhook) (Webhook, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return Webhook{}, fmt.Errorf("creating webhook: %w", err)
	}
	w.ID, w.Created = "we_"+id.String(), s.now().UTC().Truncate(time.Millisecond)
	err = s.inTx(ctx, func(tx *tx) error {
		if w.OfJobs {
			found, err := scanWebhook(tx.row(ctx, selectOfJobs, w.Tenant, w.URL))
			if !errors.Is(err, ErrNoWebhook) {
				w = found
				return err
			}
		}
		return insertWebhook(ctx, tx, w)
	})
	if err != nil {
		return Webhook{}, fmt.Errorf("creating webhook: %w", err)
	}
	return w, nil
}

const selectOfJobs = `SELECT ` + webhookColumns + ` FROM webhook_endpoints WHERE tenant = ? AND url = ? AND of_jobs`

// WebhookOfJobs returns the endpoint for URLs of a tenant's jobs that have a scheme and host, without its count of pending deliveries, or ErrNoWebhook.
func (s *SQL) WebhookOfJobs(ctx context.Context, tenant, url string) (Webhook, error) {
	w, err := scanWebhook(s.rowRead(ctx, selectOfJobs, tenant, url))
	if err != nil {
		return Webhook{}, fmt.Errorf("reading webhook of jobs: %w", err)
	}
	return w, nil
}

func insertWebhook(ctx context.Context, tx *tx, w Webhook) error {
	// The tenant's row makes those who create at the same time take turns.
	if err := lockTenant(ctx, tx, w.Tenant); err != nil {
		return err
	}
	var have int
	if err := tx.row(ctx, `SELECT COUNT(*) FROM webhook_endpoints WHERE tenant = ?`, w.Tenant).Scan(&have); err != nil {
		return err
	}
	if have >= MaxWebhooks {
		return ErrTooManyWebhooks
	}
	signing, err := json.Marshal(w.Signing) //nolint:gosec // G117: the gateway must be able to sign; SECURITY.md says where secrets are
	if err != nil {
		return err
	}
	_, err = tx.exec(ctx, `INSERT INTO webhook_endpoints (`+webhookColumns+`) VALUES (`+marks(12)+`)`,
		w.ID, w.Tenant, w.URL, w.OfJobs, strings.Join(w.Events, " "), w.Description, string(signing), "", 0, 0, 0, millis(w.Created))
	return err
}

// ChangeWebhook changes an endpoint of a tenant in one transaction and returns it as it then is.
func (s *SQL) ChangeWebhook(ctx context.Context, tenant, id string, change func(*Webhook) error) (Webhook, error) {
	err := s.inTx(ctx, func(tx *tx) error {
		w, err := scanWebhook(tx.row(ctx, `SELECT `+webhookColumns+` FROM webhook_endpoints WHERE tenant = ? AND endpoint_id = ?`+tx.dialect.lock, tenant, id))
		if err != nil {
			return err
		}
		if err := change(&w); err != nil {
			return err
		}
		signing, err := json.Marshal(w.Signing) //nolint:gosec // G117: the gateway must be able to sign; SECURITY.md says where secrets are
		if err != nil {
			return err
		}
		if w.Disabled != "" {
			if err := failPending(ctx, tx, id, s.now()); err != nil {
				return err
			}
		}
		_, err = tx.exec(ctx, `UPDATE webhook_endpoints SET url = ?, events = ?, description = ?, signing = ?, disabled = ?, failures = ?, failing_ms = ?, pause_ms = ? WHERE endpoint_id = ?`,
			w.URL, strings.Join(w.Events, " "), w.Description, string(signing), w.Disabled, w.Failures, millis(w.Failing), millis(w.Pause), id)
		return err
	})
	if err != nil {
		return Webhook{}, fmt.Errorf("changing webhook %.64q: %w", id, err)
	}
	return s.Webhook(ctx, tenant, id)
}

// DeleteWebhook deletes an endpoint of a tenant with its deliveries, and tells whether there was one.
func (s *SQL) DeleteWebhook(ctx context.Context, tenant, id string) (deleted bool, err error) {
	err = s.inTx(ctx, func(tx *tx) error {
		n, err := tx.exec(ctx, `DELETE FROM webhook_endpoints WHERE tenant = ? AND endpoint_id = ?`, tenant, id)
		deleted = n > 0
		return err
	})
	if err != nil {
		return false, fmt.Errorf("deleting webhook %.64q: %w", id, err)
	}
	return deleted, nil
}

package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"time"
)

// Events that webhooks tell of.
const (
	EventJobSucceeded = "job.succeeded"
	EventJobPartial   = "job.partial"
	EventJobFailed    = "job.failed"
	EventJobCancelled = "job.cancelled"
	EventRunSucceeded = "run.succeeded"
	EventRunPartial   = "run.partial"
	EventRunFailed    = "run.failed"
	EventRunCancelled = "run.cancelled"
	EventRunPaused    = "run.paused"
	// EventTest is sent on demand only, whatever an endpoint's events are.
	EventTest = "webhook.test"
)

// WebhookEvents are the events that an endpoint may choose from.
func WebhookEvents() []string {
	return []string{
		EventJobSucceeded, EventJobPartial, EventJobFailed, EventJobCancelled,
		EventRunSucceeded, EventRunPartial, EventRunFailed, EventRunCancelled, EventRunPaused,
	}
}

// KnownEvents tells whether a pattern, such as job.failed, job.* or *, matches an event that there is.
func KnownEvents(pattern string) bool {
	for _, e := range WebhookEvents() {
		if MatchEvent(pattern, e) {
			return true
		}
	}
	return false
}

// MatchEvent tells whether an event belongs to a pattern: its name, job.*, run.* or *.
func MatchEvent(pattern, event string) bool {
	ok, err := path.Match(pattern, event)
	return err == nil && ok
}

// Headers of a webhook, by Standard Webhooks 1.0.0.
const (
	HeaderWebhookID        = "Webhook-Id"
	HeaderWebhookTimestamp = "Webhook-Timestamp"
	HeaderWebhookSignature = "Webhook-Signature"
)

// WebhookMessage is the body of a webhook. It says what has happened and where to read more, and carries no answers.
type WebhookMessage struct {
	Type      string      `json:"type"`
	Timestamp time.Time   `json:"timestamp" doc:"When it happened"`
	Data      WebhookData `json:"data"`
}

// WebhookData is what a message tells.
type WebhookData struct {
	ID     string            `json:"id,omitempty" doc:"Of the job or run"`
	Name   string            `json:"name,omitempty" doc:"Of the run"`
	State  string            `json:"state,omitempty" doc:"Of the job or run"`
	Reason string            `json:"reason,omitempty" doc:"Why the run has paused"`
	Labels map[string]string `json:"labels,omitempty" doc:"Of the job"`
	Links  *WebhookLinks     `json:"links,omitempty"`
}

// WebhookLinks lead to what a message tells of, at the gateway's address.
type WebhookLinks struct {
	Self     string `json:"self"`
	Outcomes string `json:"outcomes,omitempty" doc:"Of a job"`
	Items    string `json:"items,omitempty" doc:"Of a run"`
}

// JobWebhook is a URL that is told of the end of one job.
type JobWebhook struct {
	URL      string   `json:"url" doc:"https URL on the public internet that is told of the job's end" maxLength:"2000"`
	Events   []string `json:"events,omitempty" doc:"Which ends it is told of; left out = all" maxItems:"16"`
	Endpoint string   `json:"endpoint,omitempty" doc:"Id of the webhook endpoint of the URL's scheme and host, which has the secret and the delivery log" readOnly:"true"`
}

// NewWebhook asks for an endpoint.
type NewWebhook struct {
	URL         string   `json:"url" doc:"https URL on the public internet" maxLength:"2000"`
	Events      []string `json:"events,omitempty" doc:"Events that are sent, by name or as job.*, run.* or *; left out = all. Jobs of a run are told of by events of the run, jobs of a batch are not" maxItems:"16"`
	Description string   `json:"description,omitempty" maxLength:"200"`
	Secret      string   `json:"secret,omitempty" doc:"whsec_ and 24 to 64 bytes in base64; left out = one is made" maxLength:"100"`
}

// WebhookChange replaces what can be changed of an endpoint; what it leaves out stays.
type WebhookChange struct {
	URL         *string  `json:"url,omitempty" doc:"Not of an endpoint of jobs" maxLength:"2000"`
	Events      []string `json:"events,omitempty" doc:"All events that are sent" maxItems:"16"`
	Description *string  `json:"description,omitempty" maxLength:"200"`
	Enabled     *bool    `json:"enabled,omitempty" doc:"false = nothing is sent, and what happens meanwhile is not kept for later. true also ends a pause after failures"`
}

// Webhook is an endpoint.
type Webhook struct {
	ID             string     `json:"id"`
	URL            string     `json:"url"`
	OfJobs         bool       `json:"of_jobs" doc:"Made for the URLs that jobs bring along; url is their scheme and host"`
	Events         []string   `json:"events"`
	Description    string     `json:"description,omitempty"`
	Enabled        bool       `json:"enabled"`
	DisabledReason string     `json:"disabled_reason,omitempty"`
	Failures       int        `json:"failures" doc:"Failed deliveries in a row"`
	FailingSince   *time.Time `json:"failing_since,omitempty"`
	PausedUntil    *time.Time `json:"paused_until,omitempty" doc:"After failures in a row, one delivery is tried then"`
	Pending        int        `json:"pending" doc:"Deliveries that are still to be made"`
	CreatedAt      time.Time  `json:"created_at"`
}

// WebhookList is a page of endpoints by id.
type WebhookList struct {
	Webhooks []Webhook `json:"webhooks"`
	Next     *string   `json:"next" doc:"Cursor of the next page; null at the end"`
}

// WebhookSecret is what receivers check signatures with.
type WebhookSecret struct {
	Secret    string     `json:"secret" doc:"whsec_…: checks v1 signatures, which are HMACs"`
	PublicKey string     `json:"public_key" doc:"whpk_…: checks v1a signatures, which are of ed25519, without being able to make any"`
	Until     *time.Time `json:"until,omitempty" doc:"When messages stop being signed with it; absent for the current one"`
}

// WebhookSecrets are those of an endpoint, the current one first.
type WebhookSecrets struct {
	Secrets []WebhookSecret `json:"secrets"`
}

// MadeWebhook is a new endpoint with its secret.
type MadeWebhook struct {
	Webhook
	WebhookSecret
}

// WebhookRotation asks for a new secret.
type WebhookRotation struct {
	OverlapS float64 `json:"overlap_s,omitempty" doc:"Seconds for which messages carry signatures of both secrets; 0 = none" minimum:"0" maximum:"2592000"`
}

// States of a delivery.
const (
	DeliveryPending   = "pending"
	DeliveryDelivered = "delivered"
	DeliveryFailed    = "failed"
)

// Delivery is one message to one endpoint.
type Delivery struct {
	ID        string            `json:"id"`
	Message   string            `json:"message" doc:"The header Webhook-Id, the same for every attempt and replay"`
	Event     string            `json:"event"`
	Subject   string            `json:"subject,omitempty" doc:"Id of the job or run"`
	URL       string            `json:"url"`
	State     string            `json:"state" enum:"pending,delivered,failed"`
	Attempts  int               `json:"attempts"`
	NextAt    *time.Time        `json:"next_at,omitempty" doc:"Of a pending one, not before this"`
	CreatedAt time.Time         `json:"created_at"`
	EndedAt   *time.Time        `json:"ended_at,omitempty"`
	Log       []DeliveryAttempt `json:"log" doc:"The last attempts, the last one last"`
}

// DeliveryAttempt is one request.
type DeliveryAttempt struct {
	At     time.Time `json:"at"`
	TookMS int64     `json:"took_ms"`
	Status int       `json:"status,omitempty" doc:"Of the answer; absent without one"`
	Error  string    `json:"error,omitempty" doc:"Why it counts as failed; absent for a success"`
}

// DeliveryList is a page of deliveries, newest first.
type DeliveryList struct {
	Deliveries []Delivery `json:"deliveries"`
	Next       *string    `json:"next" doc:"Cursor of the next page; null at the end"`
}

// WebhookReplay selects deliveries of an endpoint that are made once more: those of IDs, or those created in a time.
type WebhookReplay struct {
	IDs   []string   `json:"ids,omitempty" doc:"Deliveries or messages, by id" maxItems:"100"`
	Since *time.Time `json:"since,omitempty" doc:"Created then or later"`
	Until *time.Time `json:"until,omitempty" doc:"Created before; left out = now"`
	All   bool       `json:"all,omitempty" doc:"With since: the delivered ones too, not only the failed ones"`
}

// Replayed says how many deliveries are made once more.
type Replayed struct {
	Replayed int `json:"replayed"`
}

// CreateWebhook makes an endpoint.
func (c *Client) CreateWebhook(ctx context.Context, w NewWebhook) (made MadeWebhook, err error) {
	if err := c.post(ctx, c.base.JoinPath("/v1/webhooks"), w, &made); err != nil {
		return MadeWebhook{}, fmt.Errorf("creating webhook: %w", err)
	}
	return made, nil
}

// Webhooks returns a page of endpoints by id.
func (c *Client) Webhooks(ctx context.Context, cursor string) (list WebhookList, err error) {
	u := c.base.JoinPath("/v1/webhooks")
	u.RawQuery = query(map[string]string{"cursor": cursor})
	if err := c.get(ctx, u, &list); err != nil {
		return WebhookList{}, fmt.Errorf("listing webhooks: %w", err)
	}
	return list, nil
}

func (c *Client) webhook(id string, more ...string) *url.URL {
	return c.base.JoinPath(append([]string{"/v1/webhooks", url.PathEscape(id)}, more...)...)
}

// Webhook returns an endpoint.
func (c *Client) Webhook(ctx context.Context, id string) (w Webhook, err error) {
	if err := c.get(ctx, c.webhook(id), &w); err != nil {
		return Webhook{}, fmt.Errorf("reading webhook %s: %w", id, err)
	}
	return w, nil
}

// ChangeWebhook changes an endpoint.
func (c *Client) ChangeWebhook(ctx context.Context, id string, change WebhookChange) (w Webhook, err error) {
	if err := c.send(ctx, http.MethodPatch, c.webhook(id), change, &w); err != nil {
		return Webhook{}, fmt.Errorf("changing webhook %s: %w", id, err)
	}
	return w, nil
}

// DeleteWebhook deletes an endpoint with its deliveries. Deleting again changes nothing.
func (c *Client) DeleteWebhook(ctx context.Context, id string) error {
	if err := c.send(ctx, http.MethodDelete, c.webhook(id), nil, nil); err != nil {
		return fmt.Errorf("deleting webhook %s: %w", id, err)
	}
	return nil
}

// WebhookSecrets returns the secrets of an endpoint, the current one first.
func (c *Client) WebhookSecrets(ctx context.Context, id string) (s WebhookSecrets, err error) {
	if err := c.get(ctx, c.webhook(id, "secrets"), &s); err != nil {
		return WebhookSecrets{}, fmt.Errorf("reading the secrets of webhook %s: %w", id, err)
	}
	return s, nil
}

// RotateWebhook gives an endpoint a new secret; messages carry signatures of both until overlap has passed.
func (c *Client) RotateWebhook(ctx context.Context, id string, overlap time.Duration) (s WebhookSecrets, err error) {
	if err := c.post(ctx, c.webhook(id, "rotate"), WebhookRotation{OverlapS: overlap.Seconds()}, &s); err != nil {
		return WebhookSecrets{}, fmt.Errorf("rotating the secret of webhook %s: %w", id, err)
	}
	return s, nil
}

// TestWebhook sends a test event to an endpoint and returns its delivery, which is pending.
func (c *Client) TestWebhook(ctx context.Context, id string) (d Delivery, err error) {
	if err := c.post(ctx, c.webhook(id, "test"), nil, &d); err != nil {
		return Delivery{}, fmt.Errorf("testing webhook %s: %w", id, err)
	}
	return d, nil
}

// Deliveries returns a page of deliveries of an endpoint, newest first; state "" is all.
func (c *Client) Deliveries(ctx context.Context, id, state, cursor string) (list DeliveryList, err error) {
	u := c.webhook(id, "deliveries")
	u.RawQuery = query(map[string]string{"state": state, "cursor": cursor})
	if err := c.get(ctx, u, &list); err != nil {
		return DeliveryList{}, fmt.Errorf("listing deliveries of webhook %s: %w", id, err)
	}
	return list, nil
}

// ReplayWebhook makes deliveries of an endpoint once more, and returns how many.
func (c *Client) ReplayWebhook(ctx context.Context, id string, replay WebhookReplay) (int, error) {
	var done Replayed
	if err := c.post(ctx, c.webhook(id, "replay"), replay, &done); err != nil {
		return 0, fmt.Errorf("replaying deliveries of webhook %s: %w", id, err)
	}
	return done.Replayed, nil
}

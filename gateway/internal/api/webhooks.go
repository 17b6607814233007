package api

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/internal/webhook"
	"github.com/larkstream/larkstream/shared/fetch"
)

// WebhookStore is the part of the job store that webhooks need.
type WebhookStore interface {
	CreateWebhook(ctx context.Context, w store.Webhook) (store.Webhook, error)
	Webhooks(ctx context.Context, tenant, after string, limit int) ([]store.Webhook, error)
	Webhook(ctx context.Context, tenant, id string) (store.Webhook, error)
	WebhookOfJobs(ctx context.Context, tenant, url string) (store.Webhook, error)
	ChangeWebhook(ctx context.Context, tenant, id string, change func(*store.Webhook) error) (store.Webhook, error)
	DeleteWebhook(ctx context.Context, tenant, id string) (bool, error)
	TestWebhook(ctx context.Context, w store.Webhook) (store.Delivery, error)
	Deliveries(ctx context.Context, endpoint, state, before string, limit int) ([]store.Delivery, error)
	ReplayDeliveries(ctx context.Context, endpoint string, which store.Replay) (int, error)
}

var _ WebhookStore = (*store.SQL)(nil)

const (
	// maxURLBytes of a webhook.
	maxURLBytes = 2000
	// maxSecrets is how many secrets an endpoint keeps.
	maxSecrets = 3
)

// webhookPattern is a place in a list of webhooks or deliveries.
var webhookPattern = regexp.MustCompile(`^(we|dl)_[0-9a-f-]{36}$`)

type webhookInput struct {
	ID string `path:"webhook" doc:"Id of the webhook" maxLength:"64"`
}

type webhookOutput struct{ Body client.Webhook }

type newWebhookInput struct{ Body client.NewWebhook }

type madeWebhookOutput struct {
	Location string `header:"Location" doc:"Address of the webhook"`
	Body     client.MadeWebhook
}

type webhookListInput struct {
	Cursor string `query:"cursor" doc:"next of the page before" maxLength:"200"`
	Limit  int    `query:"limit" doc:"Webhooks per page" minimum:"1" maximum:"100" default:"100"`
}

type webhookListOutput struct{ Body client.WebhookList }

type changeWebhookInput struct {
	ID   string `path:"webhook" doc:"Id of the webhook" maxLength:"64"`
	Body client.WebhookChange
}

type secretsOutput struct{ Body client.WebhookSecrets }

type rotateWebhookInput struct {
	ID   string `path:"webhook" doc:"Id of the webhook" maxLength:"64"`
	Body client.WebhookRotation
}

type deliveryOutput struct{ Body client.Delivery }

type deliveriesInput struct {
	ID     string `path:"webhook" doc:"Id of the webhook" maxLength:"64"`
	State  string `query:"state" doc:"Only deliveries in this state" enum:"pending,delivered,failed"`
	Cursor string `query:"cursor" doc:"next of the page before" maxLength:"200"`
	Limit  int    `query:"limit" doc:"Deliveries per page" minimum:"1" maximum:"100" default:"50"`
}

type deliveriesOutput struct{ Body client.DeliveryList }

type replayInput struct {
	ID   string `path:"webhook" doc:"Id of the webhook" maxLength:"64"`
	Body client.WebhookReplay
}

type replayOutput struct{ Body client.Replayed }

func (a *API) registerWebhooks() {
	op := func(id, method, path, summary, description string) huma.Operation {
		o := a.operation(id, method, path, summary, description)
		o.Tags = []string{"webhooks"}
		return o
	}
	create := op("create-webhook", http.MethodPost, "/v1/webhooks", "Create a webhook",
		"Messages are signed by Standard Webhooks 1.0.0, with v1 (HMAC-SHA256) and v1a (ed25519), and sent at least once: every attempt has the same Webhook-Id. A 2xx answer within "+
			"20 seconds takes a message; anything else is tried again over about three days; 410 disables the webhook. Redirects are not followed.")
	create.DefaultStatus = http.StatusCreated
	huma.Register(a.huma, create, a.createWebhook)
	huma.Register(a.huma, op("list-webhooks", http.MethodGet, "/v1/webhooks", "List webhooks", "By id, in pages."), a.listWebhooks)
	huma.Register(a.huma, op("get-webhook", http.MethodGet, "/v1/webhooks/{webhook}", "Get a webhook", "How it stands, without its secret."), func(ctx context.Context, in *webhookInput) (*webhookOutput, error) {
		w, err := a.webhook(ctx, in.ID)
		return webhookAnswer(w), err
	})
	huma.Register(a.huma, op("change-webhook", http.MethodPatch, "/v1/webhooks/{webhook}", "Change a webhook",
		"What is left out stays. A webhook that is disabled gives up what is pending, which can be replayed."), a.changeWebhook)
	remove := op("delete-webhook", http.MethodDelete, "/v1/webhooks/{webhook}", "Delete a webhook", "With its deliveries and their log. Deleting again changes nothing.")
	remove.DefaultStatus = http.StatusNoContent
	huma.Register(a.huma, remove, a.deleteWebhook)
	huma.Register(a.huma, op("get-webhook-secrets", http.MethodGet, "/v1/webhooks/{webhook}/secrets", "Get the secrets of a webhook",
		"The current one first, then those whose overlap has not passed."), func(ctx context.Context, in *webhookInput) (*secretsOutput, error) {
		w, err := a.webhook(ctx, in.ID)
		if err != nil {
			return nil, err
		}
		return a.secretsAnswer(ctx, w)
	})
	huma.Register(a.huma, op("rotate-webhook", http.MethodPost, "/v1/webhooks/{webhook}/rotate", "Rotate the secret of a webhook",
		"Messages carry signatures of the new and the old secret for `overlap_s`, so that receivers can change over."), a.rotateWebhook)
	test := op("test-webhook", http.MethodPost, "/v1/webhooks/{webhook}/test", "Test a webhook", "Sends an event `webhook.test`. The delivery log tells how it went.")
	test.DefaultStatus = http.StatusAccepted
	huma.Register(a.huma, test, a.testWebhook)
	huma.Register(a.huma, op("list-deliveries", http.MethodGet, "/v1/webhooks/{webhook}/deliveries", "List deliveries",
		"Newest first, in pages, each with its attempts. They are kept for 30 days."), a.deliveries)
	replay := op("replay-deliveries", http.MethodPost, "/v1/webhooks/{webhook}/replay", "Replay deliveries",
		"Makes deliveries once more that have ended, with the ids that their messages had: those of `ids`, or the failed ones (with `all`, every one) that were created in a time.")
	replay.DefaultStatus = http.StatusAccepted
	huma.Register(a.huma, replay, a.replayDeliveries)
}

// webhook reads a webhook of the caller's tenant, with a problem as its error.
func (a *API) webhook(ctx context.Context, id string) (store.Webhook, error) {
	w, err := a.deps.Webhooks.Webhook(ctx, tenantOf(ctx), id)
	if err != nil {
		return store.Webhook{}, a.failWebhook(ctx, err)
	}
	return w, nil
}

func (a *API) failWebhook(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, store.ErrNoWebhook):
		return problem(http.StatusNotFound, codeWebhookNotFound, "there is no such webhook")
	case errors.Is(err, store.ErrTooManyWebhooks):
		return problem(http.StatusConflict, codeTooManyWebhooks, "there are %d webhooks, which is the limit, those of the URLs of jobs among them; delete one first", store.MaxWebhooks)
	}
	return a.fail(ctx, err)
}

// checkHook checks a URL that messages are sent to.
func (a *API) checkHook(raw string) (*url.URL, error) {
	if len(raw) > maxURLBytes {
		return nil, invalid(codeWebhookInvalid, "the URL of a webhook may have %d bytes", maxURLBytes)
	}
	u, err := a.deps.Guard.Check(raw)
	if errors.Is(err, fetch.ErrInvalidURL) {
		return nil, invalid(codeWebhookInvalid, "the URL of a webhook: %s", err)
	}
	return u, err
}

func checkEvents(events []string) ([]string, error) {
	for _, e := range events {
		if !client.KnownEvents(e) {
			return nil, invalid(codeWebhookInvalid, "%.40q is no event; there are %s, and job.*, run.* and * for several", e, strings.Join(client.WebhookEvents(), ", "))
		}
	}
	events = slices.Clone(events)
	slices.Sort(events)
	return slices.Compact(events), nil
}

func (a *API) createWebhook(ctx context.Context, in *newWebhookInput) (*madeWebhookOutput, error) {
	if _, err := a.checkHook(in.Body.URL); err != nil {
		return nil, err
	}
	events, err := checkEvents(in.Body.Events)
	if err != nil {
		return nil, err
	}
	if len(events) == 0 {
		events = []string{"*"}
	}
	signing, err := webhook.NewSigning(in.Body.Secret)
	if err != nil {
		return nil, invalid(codeWebhookInvalid, "%s", err)
	}
	w, err := a.deps.Webhooks.CreateWebhook(ctx, store.Webhook{
		Tenant: tenantOf(ctx), URL: in.Body.URL, Events: events, Description: in.Body.Description, Signing: []store.Signing{signing},
	})
	if err != nil {
		return nil, a.failWebhook(ctx, err)
	}
	secret, err := secretView(signing)
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	return &madeWebhookOutput{Location: "/v1/webhooks/" + w.ID, Body: client.MadeWebhook{Webhook: webhookView(w), WebhookSecret: secret}}, nil
}

// hookOf is where the end of a job is told, for which an endpoint of the URL's scheme and host is made if there is none.
func (a *API) hookOf(ctx context.Context, w *client.JobWebhook) (*client.JobWebhook, error) {
	if w == nil {
		return nil, nil
	}
	u, err := a.checkHook(w.URL)
	if err != nil {
		return nil, err
	}
	origin := (&url.URL{Scheme: u.Scheme, Host: strings.ToLower(u.Host)}).String()
	endpoint, err := a.deps.Webhooks.WebhookOfJobs(ctx, tenantOf(ctx), origin) // of all jobs but the first: nothing is written
	if errors.Is(err, store.ErrNoWebhook) {
		var signing store.Signing
		if signing, err = webhook.NewSigning(""); err != nil {
			return nil, err
		}
		endpoint, err = a.deps.Webhooks.CreateWebhook(ctx, store.Webhook{Tenant: tenantOf(ctx), URL: origin, OfJobs: true, Events: []string{"job.*"}, Signing: []store.Signing{signing}})
	}
	if err != nil {
		return nil, a.failWebhook(ctx, err)
	}
	return &client.JobWebhook{URL: w.URL, Events: w.Events, Endpoint: endpoint.ID}, nil
}

func (a *API) validateWebhook(req *request) error {
	w := req.Webhook
	if w == nil {
		return nil
	}
	if _, err := a.checkHook(w.URL); err != nil {
		return err
	}
	events, err := checkEvents(w.Events)
	if err != nil {
		return err
	}
	if len(events) > 0 && !slices.ContainsFunc(events, func(e string) bool { return !strings.HasPrefix(e, "run.") }) {
		return invalid(codeWebhookInvalid, "webhook.events has events of runs only, and a job has none")
	}
	req.Webhook = &client.JobWebhook{URL: w.URL, Events: events}
	return nil
}

func (a *API) listWebhooks(ctx context.Context, in *webhookListInput) (*webhookListOutput, error) {
	after, err := openCursorOf("w", in.Cursor, webhookPattern)
	if err != nil {
		return nil, err
	}
	found, err := a.deps.Webhooks.Webhooks(ctx, tenantOf(ctx), after, in.Limit+1)
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	out := &webhookListOutput{Body: client.WebhookList{Webhooks: []client.Webhook{}}}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Body.Next = makeCursor("w", found[in.Limit-1].ID)
	}
	for _, w := range found {
		out.Body.Webhooks = append(out.Body.Webhooks, webhookView(w))
	}
	return out, nil
}

func (a *API) changeWebhook(ctx context.Context, in *changeWebhookInput) (*webhookOutput, error) {
	b := in.Body
	events, err := checkEvents(b.Events)
	if err != nil {
		return nil, err
	}
	if b.URL != nil {
		if _, err := a.checkHook(*b.URL); err != nil {
			return nil, err
		}
	}
	w, err := a.deps.Webhooks.ChangeWebhook(ctx, tenantOf(ctx), in.ID, func(w *store.Webhook) error {
		if w.OfJobs && (b.URL != nil || len(events) > 0) {
			return invalid(codeWebhookInvalid, "this webhook belongs to the URLs of jobs: each job says where its end is told and which ends are")
		}
		if b.URL != nil {
			w.URL = *b.URL
		}
		if len(events) > 0 {
			w.Events = events
		}
		if b.Description != nil {
			w.Description = *b.Description
		}
		if b.Enabled != nil {
			w.Disabled = store.DisabledByOwner
			if *b.Enabled {
				w.Disabled, w.Failures, w.Failing, w.Pause = "", 0, time.Time{}, time.Time{}
			}
		}
		return nil
	})
	if err != nil {
		return nil, a.failWebhook(ctx, err)
	}
	return webhookAnswer(w), nil
}

func (a *API) deleteWebhook(ctx context.Context, in *webhookInput) (*struct{}, error) {
	deleted, err := a.deps.Webhooks.DeleteWebhook(ctx, tenantOf(ctx), in.ID)
	if err == nil && !deleted {
		deleted, err = a.deps.Admin.Deleted(ctx, tenantOf(ctx), "delete-webhook", "/v1/webhooks/"+in.ID)
	}
	if err == nil && !deleted {
		err = store.ErrNoWebhook
	}
	if err != nil {
		return nil, a.failWebhook(ctx, err)
	}
	return nil, nil
}

func (a *API) rotateWebhook(ctx context.Context, in *rotateWebhookInput) (*secretsOutput, error) {
	fresh, err := webhook.NewSigning("")
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	w, err := a.deps.Webhooks.ChangeWebhook(ctx, tenantOf(ctx), in.ID, func(w *store.Webhook) error {
		until := a.now().Add(seconds(in.Body.OverlapS))
		kept := []store.Signing{fresh}
		for _, s := range w.Signing {
			if s.UntilMS == 0 || until.UnixMilli() < s.UntilMS {
				s.UntilMS = until.UnixMilli()
			}
			if s.Works(a.now()) && len(kept) < maxSecrets {
				kept = append(kept, s)
			}
		}
		w.Signing = kept
		return nil
	})
	if err != nil {
		return nil, a.failWebhook(ctx, err)
	}
	return a.secretsAnswer(ctx, w)
}

func (a *API) testWebhook(ctx context.Context, in *webhookInput) (*deliveryOutput, error) {
	w, err := a.webhook(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if w.Disabled != "" {
		return nil, problem(http.StatusConflict, codeWebhookDisabled, "the webhook is disabled: %s", w.Disabled)
	}
	if w.OfJobs {
		return nil, problem(http.StatusConflict, codeWebhookInvalid, "this webhook has no URL of its own: it belongs to the URLs of jobs")
	}
	d, err := a.deps.Webhooks.TestWebhook(ctx, w)
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	return &deliveryOutput{Body: deliveryView(d)}, nil
}

func (a *API) deliveries(ctx context.Context, in *deliveriesInput) (*deliveriesOutput, error) {
	before, err := openCursorOf("d", in.Cursor, webhookPattern)
	if err != nil {
		return nil, err
	}
	w, err := a.webhook(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	found, err := a.deps.Webhooks.Deliveries(ctx, w.ID, in.State, before, in.Limit+1)
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	out := &deliveriesOutput{Body: client.DeliveryList{Deliveries: []client.Delivery{}}}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Body.Next = makeCursor("d", found[in.Limit-1].ID)
	}
	for _, d := range found {
		out.Body.Deliveries = append(out.Body.Deliveries, deliveryView(d))
	}
	return out, nil
}

func (a *API) replayDeliveries(ctx context.Context, in *replayInput) (*replayOutput, error) {
	b := in.Body
	if (len(b.IDs) > 0) == (b.Since != nil) {
		return nil, invalid(codeWebhookInvalid, "say which deliveries: either ids or since")
	}
	w, err := a.webhook(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	if w.Disabled != "" {
		return nil, problem(http.StatusConflict, codeWebhookDisabled, "the webhook is disabled: %s", w.Disabled)
	}
	which := store.Replay{IDs: b.IDs, Until: a.now(), Delivered: b.All}
	if b.Since != nil {
		which.Since = *b.Since
	}
	if b.Until != nil {
		which.Until = *b.Until
	}
	n, err := a.deps.Webhooks.ReplayDeliveries(ctx, w.ID, which)
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	return &replayOutput{Body: client.Replayed{Replayed: n}}, nil
}

func webhookAnswer(w store.Webhook) *webhookOutput { return &webhookOutput{Body: webhookView(w)} }

func webhookView(w store.Webhook) client.Webhook {
	return client.Webhook{
		ID: w.ID, URL: w.URL, OfJobs: w.OfJobs, Events: w.Events, Description: w.Description, Enabled: w.Disabled == "", DisabledReason: w.Disabled,
		Failures: w.Failures, FailingSince: timePtr(w.Failing), PausedUntil: timePtr(w.Pause), Pending: w.Pending, CreatedAt: w.Created,
	}
}

func secretView(s store.Signing) (client.WebhookSecret, error) {
	public, err := webhook.PublicKey(s)
	v := client.WebhookSecret{Secret: s.Secret, PublicKey: public}
	if s.UntilMS > 0 {
		v.Until = timePtr(time.UnixMilli(s.UntilMS).UTC())
	}
	return v, err
}

func (a *API) secretsAnswer(ctx context.Context, w store.Webhook) (*secretsOutput, error) {
	out := &secretsOutput{}
	for _, s := range w.Signing {
		if !s.Works(a.now()) {
			continue
		}
		v, err := secretView(s)
		if err != nil {
			return nil, a.fail(ctx, err)
		}
		out.Body.Secrets = append(out.Body.Secrets, v)
	}
	return out, nil
}

func deliveryView(d store.Delivery) client.Delivery {
	v := client.Delivery{
		ID: d.ID, Message: d.Message, Event: d.Event, Subject: d.Subject, URL: d.URL, State: d.State, Attempts: d.Attempts,
		CreatedAt: d.Created, EndedAt: timePtr(d.Ended), Log: d.Log,
	}
	if d.State == client.DeliveryPending {
		v.NextAt = timePtr(d.Next)
	}
	return v
}

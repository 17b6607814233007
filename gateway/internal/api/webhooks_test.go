package api_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
)

func codeOf(t *testing.T, err error) string {
	t.Helper()
	p, ok := client.AsProblem(err)
	require.True(t, ok, "%v", err)
	return p.Code
}

func TestWebhooks(t *testing.T) {
	t.Parallel()
	r := setup(t)
	ctx := t.Context()
	made, err := r.client.CreateWebhook(ctx, client.NewWebhook{URL: "https://hook.example/a", Events: []string{"run.*", "job.failed", "job.failed"}, Description: "mine"})
	require.NoError(t, err)
	require.True(t, made.Enabled)
	require.Equal(t, []string{"job.failed", "run.*"}, made.Events)
	require.Regexp(t, "^whsec_.{44}$", made.Secret)
	require.Regexp(t, "^whpk_.{44}$", made.PublicKey)
	all, err := r.client.CreateWebhook(ctx, client.NewWebhook{URL: "http://127.0.0.1:99/", Secret: "whsec_" + strings.Repeat("QUJD", 8)})
	require.NoError(t, err, "http is for hosts that the operator trusts")
	require.Equal(t, []string{"*"}, all.Events)
	require.Equal(t, "whsec_"+strings.Repeat("QUJD", 8), all.Secret)
	for _, bad := range []client.NewWebhook{
		{URL: "http://hook.example"},
		{URL: "ftp://hook.example"},
		{URL: "https://user:pw@hook.example"},
		{URL: "https://hook.example", Events: []string{"job.born"}},
		{URL: "https://hook.example", Secret: "whsec_short"},
		{URL: "https://hook.example/" + strings.Repeat("x", 1990)},
		{URL: ""},
	} {
		_, err := r.client.CreateWebhook(ctx, bad)
		require.Contains(t, []string{"webhook_invalid", "invalid_request"}, codeOf(t, err), "%.60v", bad)
	}

	list, err := r.client.Webhooks(ctx, "")
	require.NoError(t, err)
	require.Equal(t, []client.Webhook{made.Webhook, all.Webhook}, list.Webhooks)
	disabled := false
	changed, err := r.client.ChangeWebhook(ctx, made.ID, client.WebhookChange{Enabled: &disabled})
	require.NoError(t, err)
	require.False(t, changed.Enabled)
	require.Equal(t, made.Events, changed.Events, "what is left out stays")
	_, err = r.client.TestWebhook(ctx, made.ID)
	require.Equal(t, "webhook_disabled", codeOf(t, err))
	enabled := true
	_, err = r.client.ChangeWebhook(ctx, made.ID, client.WebhookChange{Enabled: &enabled})
	require.NoError(t, err)

	rotated, err := r.client.RotateWebhook(ctx, made.ID, time.Hour)
	require.NoError(t, err)
	require.Len(t, rotated.Secrets, 2)
	require.Nil(t, rotated.Secrets[0].Until)
	require.Equal(t, made.Secret, rotated.Secrets[1].Secret)
	require.WithinDuration(t, time.Now().Add(time.Hour), *rotated.Secrets[1].Until, patience)
	rotated, err = r.client.RotateWebhook(ctx, made.ID, 0)
	require.NoError(t, err)
	require.Len(t, rotated.Secrets, 1, "no overlap ends all that were before")
	secrets, err := r.client.WebhookSecrets(ctx, made.ID)
	require.NoError(t, err)
	require.Equal(t, rotated, secrets)

	d, err := r.client.TestWebhook(ctx, made.ID)
	require.NoError(t, err)
	require.Equal(t, []string{"webhook.test", client.DeliveryPending}, []string{d.Event, d.State})
	page, err := r.client.Deliveries(ctx, made.ID, client.DeliveryPending, "")
	require.NoError(t, err)
	require.Equal(t, []client.Delivery{d}, page.Deliveries)
	_, err = r.client.ReplayWebhook(ctx, made.ID, client.WebhookReplay{})
	require.Equal(t, "webhook_invalid", codeOf(t, err))
	n, err := r.client.ReplayWebhook(ctx, made.ID, client.WebhookReplay{IDs: []string{d.ID}})
	require.NoError(t, err)
	require.Zero(t, n, "it is pending still")

	require.NoError(t, r.client.DeleteWebhook(ctx, made.ID))
	require.NoError(t, r.client.DeleteWebhook(ctx, made.ID), "again changes nothing")
	_, err = r.client.Webhook(ctx, made.ID)
	require.Equal(t, "webhook_not_found", codeOf(t, err))
}

// TestAJobBringsItsURL: its end is written for that URL, whose secret is that of the URL's scheme and host.
func TestAJobBringsItsURL(t *testing.T) {
	t.Parallel()
	r := setup(t)
	ctx := t.Context()
	submit := func(hook client.JobWebhook) (client.Job, error) {
		return r.client.Submit(ctx, client.Submission{Questions: []string{"q"}, Webhook: &hook}, &client.Upload{Name: "a.wav", Reader: strings.NewReader("RIFF")}, client.SubmitOptions{})
	}
	job, err := submit(client.JobWebhook{URL: "https://Hook.example:8443/a?job=1", Events: []string{"job.succeeded"}})
	require.NoError(t, err)
	require.Equal(t, "https://Hook.example:8443/a?job=1", job.Webhook.URL)
	second, err := submit(client.JobWebhook{URL: "https://hook.example:8443/b"})
	require.NoError(t, err)
	require.Equal(t, job.Webhook.Endpoint, second.Webhook.Endpoint)
	w, err := r.client.Webhook(ctx, job.Webhook.Endpoint)
	require.NoError(t, err)
	require.Equal(t, []any{"https://hook.example:8443", true}, []any{w.URL, w.OfJobs})
	for _, bad := range []client.JobWebhook{{URL: "http://hook.example"}, {URL: "https://hook.example", Events: []string{"run.failed"}}, {URL: "https://hook.example", Events: []string{"x"}}, {}} {
		_, err := submit(bad)
		require.Contains(t, []string{"webhook_invalid", "malformed_body", "invalid_request"}, codeOf(t, err), "%v", bad)
	}
	url := "https://elsewhere.example"
	_, err = r.client.ChangeWebhook(ctx, w.ID, client.WebhookChange{URL: &url})
	require.Equal(t, "webhook_invalid", codeOf(t, err))
	_, err = r.client.TestWebhook(ctx, w.ID)
	require.Equal(t, "webhook_invalid", codeOf(t, err))

	r.record(false, planOf(job.ID, 1, 1), answerOf(job.ID, 0, 0))
	page, err := r.client.Deliveries(ctx, w.ID, "", "")
	require.NoError(t, err)
	require.Len(t, page.Deliveries, 1)
	require.Equal(t, []string{"job.succeeded", job.ID, "https://Hook.example:8443/a?job=1"}, []string{page.Deliveries[0].Event, page.Deliveries[0].Subject, page.Deliveries[0].URL})
	got, err := r.client.Get(ctx, job.ID)
	require.NoError(t, err)
	require.Equal(t, job.Webhook, got.Webhook)
	require.Equal(t, http.StatusUnprocessableEntity, r.do(http.MethodGet, "/v1/webhooks/"+w.ID+"/deliveries?state=born", nil).status)
}

func TestWebhooksInPages(t *testing.T) {
	t.Parallel()
	r := setup(t)
	w, err := r.jobs.CreateWebhook(t.Context(), store.Webhook{Tenant: event.TenantDefault, URL: "https://hook.example", Events: []string{"*"}})
	require.NoError(t, err)
	for range 60 {
		_, err := r.jobs.TestWebhook(t.Context(), w)
		require.NoError(t, err)
	}
	seen := make(map[string]bool)
	for cursor := ""; ; {
		page, err := r.client.Deliveries(t.Context(), w.ID, "", cursor)
		require.NoError(t, err)
		for _, d := range page.Deliveries {
			seen[d.ID] = true
		}
		if page.Next == nil {
			break
		}
		cursor = *page.Next
	}
	require.Len(t, seen, 60)
}

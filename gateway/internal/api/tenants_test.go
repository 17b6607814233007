package api_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/api"
	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// setupKeys is a rig whose callers need keys.
func setupKeys(t *testing.T) *rig {
	t.Helper()
	r := setupMode(t, auth.ModeKeys)
	for _, name := range []string{"acme", "other"} {
		_, err := r.jobs.CreateTenant(t.Context(), store.Tenant{Name: name})
		require.NoError(t, err)
	}
	return r
}

// as is a client with a key of the tenant.
func (r *rig) as(tenant string, scopes ...string) *client.Client {
	return r.client.WithToken(r.key(tenant, scopes...))
}

func (r *rig) key(tenant string, scopes ...string) string {
	r.t.Helper()
	key := auth.NewKey()
	_, err := r.jobs.CreateKey(r.t.Context(), store.Key{ID: key.ID, Tenant: tenant, Scopes: scopes, SecretHash: key.Hash()})
	require.NoError(r.t, err)
	return key.String()
}

// walks say what an operation answers to a caller of another tenant who has every scope but admin, asking for things of tenant acme.
var walks = map[string]struct {
	status int
	body   string
	query  string
}{
	"submit-job":             {status: 422, body: `{"questions":["q"],"audio_ref":"$AUDIO"}`},
	"list-jobs":              {status: 200},
	"get-job":                {status: 404},
	"list-outcomes":          {status: 404},
	"watch-job":              {status: 404},
	"cancel-job":             {status: 404},
	"delete-job":             {status: 404},
	"supersede-outcomes":     {status: 404},
	"list-superseded":        {status: 404},
	"list-models":            {status: 200},
	"create-webhook":         {status: 422, body: `{"url":"ftp://x"}`},
	"list-webhooks":          {status: 200},
	"get-webhook":            {status: 404},
	"change-webhook":         {status: 404, body: `{"enabled":false}`},
	"delete-webhook":         {status: 404},
	"get-webhook-secrets":    {status: 404},
	"rotate-webhook":         {status: 404, body: `{}`},
	"test-webhook":           {status: 404},
	"list-deliveries":        {status: 404},
	"replay-deliveries":      {status: 404, body: `{"ids":["dl_x"]}`},
	"upload-file":            {status: 415, body: `{}`},
	"list-files":             {status: 200},
	"get-file":               {status: 404},
	"get-file-content":       {status: 404},
	"delete-file":            {status: 404},
	"create-batch":           {status: 404, body: `{"input_file_id":"$FILE","endpoint":"/v1/chat/completions","completion_window":"24h"}`},
	"list-batches":           {status: 200},
	"get-batch":              {status: 404},
	"cancel-batch":           {status: 404},
	"get-model":              {status: 404},
	"create-chat-completion": {status: 400, body: `{"model":"nano","messages":[{"role":"user","content":[{"type":"text","text":"q"},{"type":"input_audio","input_audio":{"Data":"$AUDIO","format":"wav"}}]}]}`},
	"list-dead-letters":      {status: 403},
	"get-dead-letter":        {status: 403},
	"redrive-dead-letters":   {status: 403, body: `{"everything":true}`},
	"purge-dead-letters":     {status: 403, body: `{"everything":true}`},
	"plan-run":               {status: 404, body: `{"asked":{"questions":["q"],"changed_since":"$RUN"},"items":[{"id":"b","uri":"file:///b"}]}`},
	"watch-run":              {status: 404},
	"get-rates":              {status: 200},
	"create-run":             {status: 404, body: `{"questions":["q"],"changed_since":"$RUN"}`},
	"list-runs":              {status: 200},
	"get-run":                {status: 404},
	"add-run-items":          {status: 404, body: `{"items":[{"id":"b","uri":"file:///b"}]}`},
	"list-run-items":         {status: 404},
	"start-run":              {status: 404},
	"pause-run":              {status: 404},
	"resume-run":             {status: 404},
	"cancel-run":             {status: 404},
	"retry-run":              {status: 404},
	"find-similar":           {status: 404, query: "?item=a"},
	"list-run-embeddings":    {status: 404},
	"diff-run":               {status: 404, query: "?with=$RUN"},
	"get-limits":             {status: 200},
	"list-audit":             {status: 403},
	"list-tenants":           {status: 403},
	"get-tenant":             {status: 403},
	"create-tenant":          {status: 403, body: `{"name":"third"}`},
	"change-tenant":          {status: 403, body: `{"isolated":true}`},
	"list-keys":              {status: 403},
	"create-key":             {status: 403, body: `{"scopes":["admin"]}`},
	"revoke-key":             {status: 403},
	"rotate-key":             {status: 403, body: `{}`},
}

// TestNoOperationShowsTheThingsOfOthers walks every operation of the specification as nobody, as a caller without its scope, and as another tenant.
func TestNoOperationShowsTheThingsOfOthers(t *testing.T) {
	t.Parallel()
	r := setupKeys(t)
	job, err := r.as("acme", auth.ScopeJobsWrite).Submit(t.Context(), client.Submission{Questions: []string{"acme's question"}},
		&client.Upload{Name: "acme.wav", Reader: strings.NewReader("RIFF")}, client.SubmitOptions{})
	require.NoError(t, err)
	r.record(false, planOf(job.ID, 1, 1), answerOf(job.ID, 0, 0))
	run, err := r.as("acme", auth.ScopeRuns).CreateRun(t.Context(), client.RunSubmission{Name: "albums", Questions: []string{"acme's question"}})
	require.NoError(t, err)
	hook, err := r.as("acme", auth.ScopeJobsWrite).CreateWebhook(t.Context(), client.NewWebhook{URL: "https://acme.example/hook"})
	require.NoError(t, err)
	file := store.File{ID: "file-acmes", Tenant: "acme", Purpose: "batch", Name: "acme's question.jsonl", Bytes: 5, Created: time.Now()}
	require.NoError(t, r.jobs.CreateFile(t.Context(), file, 1000))
	require.NoError(t, r.blobs.PutBytes(t.Context(), store.FileKey(file.ID), []byte("acme's question")))
	batch := store.Batch{ID: "batch_acmes", Tenant: "acme", Created: time.Now(), Expires: time.Now().Add(time.Hour), Spec: store.BatchSpec{Input: file.ID}}
	require.NoError(t, r.jobs.CreateBatch(t.Context(), batch))
	other := r.key("other", auth.ScopeJobsRead, auth.ScopeJobsWrite, auth.ScopeRuns)
	withoutRuns, without := r.key("acme", auth.ScopeJobsRead), r.key("acme", auth.ScopeRuns)
	acmesKey, _, _ := strings.Cut(strings.TrimPrefix(r.key("acme", auth.ScopeJobsRead), "lk_"), "_")

	raw, err := r.api.OpenAPI()
	require.NoError(t, err)
	var spec struct {
		Paths map[string]map[string]struct {
			ID       string                `json:"operationId"`
			Security []map[string][]string `json:"security"`
		} `json:"paths"`
	}
	require.NoError(t, json.Unmarshal(raw, &spec))
	fill := strings.NewReplacer("{id}", job.ID, "{tenant}", "acme", "{key}", acmesKey, "{webhook}", hook.ID, "$AUDIO", job.Audio.SHA256, "$RUN", run.ID, "$FILE", file.ID)
	walked := 0
	for path, methods := range spec.Paths {
		path := fill.Replace(strings.NewReplacer("/dead/{id}", "/dead/0-0", "/runs/{id}", "/runs/"+run.ID, "/files/{id}", "/files/"+file.ID, "/batches/{id}", "/batches/"+batch.ID).Replace(path))
		for method, op := range methods {
			walk, ok := walks[op.ID]
			require.True(t, ok, "operation %s has no rule: say in walks what it answers to another tenant", op.ID)
			walked++
			ask := func(key string) answer {
				header := []string{"Content-Type", "application/json"}
				if key != "" {
					header = append(header, "Authorization", "Bearer "+key)
				}
				return r.do(strings.ToUpper(method), path+fill.Replace(walk.query), strings.NewReader(fill.Replace(walk.body)), header...)
			}
			require.NotEmpty(t, op.Security, op.ID)
			nobody := ask("")
			require.Equal(t, http.StatusUnauthorized, nobody.status, op.ID)
			if len(op.Security[0]["key"]) > 0 {
				poor := without
				if slices.Contains(op.Security[0]["key"], auth.ScopeRuns) {
					poor = withoutRuns
				}
				require.Equal(t, "scope_missing", ask(poor).problem(t).Code, op.ID)
			}
			got := ask(other)
			require.Equal(t, walk.status, got.status, "%s: %s", op.ID, got.body)
			require.NotContains(t, string(got.body), job.ID, op.ID)
			require.NotContains(t, string(got.body), run.ID, op.ID)
			require.NotContains(t, string(got.body), hook.ID, op.ID)
			require.NotContains(t, string(got.body), "acme's question", op.ID)
			require.NotContains(t, string(got.body), file.ID, op.ID)
			require.NotContains(t, string(got.body), batch.ID, op.ID)
		}
	}
	require.Equal(t, len(walks), walked, "walks names no operation that there is not")
	still, err := r.as("acme", auth.ScopeJobsRead).Get(t.Context(), job.ID)
	require.NoError(t, err)
	require.Equal(t, client.StateSucceeded, still.State, "nothing of it was changed")
	kept, err := r.as("acme", auth.ScopeJobsRead).Webhook(t.Context(), hook.ID)
	require.NoError(t, err)
	require.Equal(t, hook.Webhook, kept)
}

// TestIdempotencyKeysAndAudioBelongToTenants: equal keys do not meet, and a hash is no permission.
func TestIdempotencyKeysAndAudioBelongToTenants(t *testing.T) {
	t.Parallel()
	r := setupKeys(t)
	acme, other := r.as("acme", auth.ScopeJobsWrite), r.as("other", auth.ScopeJobsWrite)
	submit := func(c *client.Client, sub client.Submission, content string) (client.Job, error) {
		var upload *client.Upload
		if content != "" {
			upload = &client.Upload{Name: "a.wav", Reader: strings.NewReader(content)}
		}
		return c.Submit(t.Context(), sub, upload, client.SubmitOptions{IdempotencyKey: "same"})
	}
	first, err := submit(acme, client.Submission{Questions: []string{"q"}}, "RIFF1")
	require.NoError(t, err)
	second, err := submit(other, client.Submission{Questions: []string{"another"}}, "RIFF2")
	require.NoError(t, err, "the key of another tenant is another key")
	require.NotEqual(t, first.ID, second.ID)

	byRef := func(c *client.Client) error {
		_, err := c.Submit(t.Context(), client.Submission{Questions: []string{"q"}, AudioRef: first.Audio.SHA256}, nil, client.SubmitOptions{})
		return err
	}
	require.NoError(t, byRef(acme))
	err = byRef(other)
	p, ok := client.AsProblem(err)
	require.True(t, ok)
	require.Equal(t, "audio_ref_unknown", p.Code)
	_, err = other.Submit(t.Context(), client.Submission{Questions: []string{"q"}}, &client.Upload{Name: "b.wav", Reader: strings.NewReader("RIFF1")}, client.SubmitOptions{})
	require.NoError(t, err, "who has the bytes may send them")
	require.NoError(t, byRef(other), "and may name them then")

	rec := r.outbox()[0].Record
	require.Equal(t, "acme", rec.Get(event.HeaderTenant))
}

func TestAdminsMakeTenantsAndKeys(t *testing.T) {
	t.Parallel()
	r := setupKeys(t)
	admin := r.as(event.TenantDefault, auth.ScopeAdmin)
	limits := client.TenantLimits{OpenJobs: 3}
	tenant, err := admin.CreateTenant(t.Context(), client.NewTenant{Name: "third", Limits: limits})
	require.NoError(t, err)
	require.Equal(t, limits, tenant.Limits)
	code := func(err error) string {
		p, ok := client.AsProblem(err)
		require.True(t, ok, "%v", err)
		return p.Code
	}
	_, err = admin.CreateTenant(t.Context(), client.NewTenant{Name: "third"})
	require.Equal(t, "tenant_exists", code(err))
	_, err = admin.CreateTenant(t.Context(), client.NewTenant{Name: "No/Name"})
	require.Equal(t, "invalid_request", code(err))
	isolated := true
	tenant, err = admin.ChangeTenant(t.Context(), "third", client.TenantChange{Isolated: &isolated})
	require.NoError(t, err)
	require.True(t, tenant.Isolated)
	require.Equal(t, limits, tenant.Limits, "what is left out stays")
	_, err = admin.Tenant(t.Context(), "nobody")
	require.Equal(t, "tenant_not_found", code(err))
	list, err := admin.Tenants(t.Context(), "")
	require.NoError(t, err)
	require.Len(t, list.Tenants, 4)
	require.Nil(t, list.Next)

	made, err := admin.CreateKey(t.Context(), client.NewKey{Tenant: "third", Name: "ingest", Scopes: []string{auth.ScopeJobsRead}, ExpiresInS: 3600})
	require.NoError(t, err)
	require.Equal(t, client.KeyActive, made.State)
	require.WithinDuration(t, time.Now().Add(time.Hour), *made.ExpiresAt, patience)
	holder := r.client.WithToken(made.Secret)
	_, err = holder.List(t.Context(), client.ListOptions{})
	require.NoError(t, err)
	rotated, err := admin.RotateKey(t.Context(), made.ID, time.Minute)
	require.NoError(t, err)
	_, err = holder.List(t.Context(), client.ListOptions{})
	require.NoError(t, err, "the old key overlaps")
	_, err = r.client.WithToken(rotated.Secret).List(t.Context(), client.ListOptions{})
	require.NoError(t, err)
	revoked, err := admin.RevokeKey(t.Context(), rotated.ID)
	require.NoError(t, err)
	require.Equal(t, client.KeyRevoked, revoked.State)
	_, err = r.client.WithToken(rotated.Secret).List(t.Context(), client.ListOptions{})
	require.Equal(t, "unauthorized", code(err), "at once")
	_, err = admin.RotateKey(t.Context(), rotated.ID, 0)
	require.Equal(t, "key_ended", code(err))
	_, err = admin.CreateKey(t.Context(), client.NewKey{Tenant: "nobody", Scopes: []string{auth.ScopeJobsRead}})
	require.Equal(t, "tenant_not_found", code(err))
	_, err = admin.CreateKey(t.Context(), client.NewKey{Scopes: []string{"root"}})
	require.Equal(t, "invalid_request", code(err))
	odd := r.do(http.MethodPost, "/v1/keys", strings.NewReader(`{"scopes":[{},[]]}`), "Authorization", "Bearer "+r.key(event.TenantDefault, auth.ScopeAdmin), "Content-Type", "application/json")
	require.Equal(t, http.StatusUnprocessableEntity, odd.status, "%s", odd.body)
	twice, err := admin.CreateKey(t.Context(), client.NewKey{Scopes: []string{auth.ScopeRuns, auth.ScopeJobsRead, auth.ScopeRuns}})
	require.NoError(t, err)
	require.Equal(t, []string{auth.ScopeJobsRead, auth.ScopeRuns}, twice.Scopes)
	keys, err := admin.Keys(t.Context(), "third", "")
	require.NoError(t, err)
	require.Len(t, keys.Keys, 2)
	raw, err := json.Marshal(keys)
	require.NoError(t, err)
	require.NotContains(t, string(raw), strings.Split(rotated.Secret, "_")[2], "secrets are shown once")
	page := r.do(http.MethodGet, "/v1/keys?limit=1", nil, "Authorization", "Bearer "+r.key(event.TenantDefault, auth.ScopeAdmin))
	require.Contains(t, string(page.body), `"next":"`)
}

func TestLimitsOfATenant(t *testing.T) {
	t.Parallel()
	r := setupKeys(t)
	limit := func(l client.TenantLimits) {
		_, err := r.jobs.SetTenant(t.Context(), "acme", false, l)
		require.NoError(t, err)
		r.callers.Forget()
	}
	key := r.key("acme", auth.ScopeJobsRead, auth.ScopeJobsWrite)
	acme := r.client.WithToken(key)
	submit := func(content string) (client.Job, error) {
		return acme.Submit(t.Context(), client.Submission{Questions: []string{"q"}}, &client.Upload{Name: "a.wav", Reader: strings.NewReader(content)}, client.SubmitOptions{})
	}
	refused := func(limit string) {
		t.Helper()
		a := r.formAs(key, part{"audio", "a.wav", "RIFF"}, part{"questions", "", "q"})
		p := a.problem(t)
		require.Equal(t, "tenant_limit", p.Code, "%s", a.body)
		require.Equal(t, http.StatusTooManyRequests, p.Status)
		require.True(t, p.Retryable)
		require.Contains(t, p.Detail, limit)
		require.NotEmpty(t, a.header.Get("Retry-After"))
		require.Contains(t, a.header.Get("RateLimit"), `"`+limit+`";r=0;t=`)
		require.Contains(t, a.header.Get("RateLimit-Policy"), `"`+limit+`";q=`)
	}
	first, err := submit("RIFF1")
	require.NoError(t, err, "without limits")
	limit(client.TenantLimits{OpenJobs: 1})
	refused("open_jobs")
	r.record(false, planOf(first.ID, 2, 1), answerOf(first.ID, 0, 0))
	limit(client.TenantLimits{WindowsInFlight: 1})
	refused("windows_in_flight")
	r.record(false, answerOf(first.ID, 0, 1))
	limit(client.TenantLimits{OpenJobs: 1, WindowsInFlight: 1})
	_, err = submit("RIFF2")
	require.NoError(t, err, "the first job has ended")
	limit(client.TenantLimits{AudioSPerDay: 50})
	refused("audio_s_per_day")
	limit(client.TenantLimits{UploadBytesPerDay: 10})
	refused("upload_bytes_per_day")
	_, err = r.as("other", auth.ScopeJobsWrite).Submit(t.Context(), client.Submission{Questions: []string{"q"}}, &client.Upload{Name: "a.wav", Reader: strings.NewReader("R")}, client.SubmitOptions{})
	require.NoError(t, err, "limits are each tenant's own")

	status, err := acme.Limits(t.Context())
	require.NoError(t, err)
	require.Equal(t, client.LimitsStatus{
		Tenant: "acme", Limits: client.TenantLimits{UploadBytesPerDay: 10},
		Used: client.TenantUsage{AudioSToday: 50, UploadBytesToday: 10, WindowsInFlight: 1, OpenJobs: 1},
	}, status)

	limit(client.TenantLimits{RequestsPerS: 0.001})
	first1 := r.do(http.MethodGet, "/v1/jobs", nil, "Authorization", "Bearer "+key)
	require.Equal(t, http.StatusOK, first1.status)
	require.Contains(t, first1.header.Get("RateLimit"), `"requests";r=0`)
	second := r.do(http.MethodGet, "/v1/jobs", nil, "Authorization", "Bearer "+key)
	require.Equal(t, "rate_limited", second.problem(t).Code)
	require.NotEmpty(t, second.header.Get("Retry-After"))
	require.Equal(t, http.StatusOK, r.do(http.MethodGet, "/v1/jobs", nil, "Authorization", "Bearer "+r.key("other", auth.ScopeJobsRead)).status)
}

// formAs submits a form with a key.
func (r *rig) formAs(key string, parts ...part) answer {
	r.t.Helper()
	body, contentType := form(r.t, parts...)
	return r.do(http.MethodPost, "/v1/jobs", body, "Content-Type", contentType, "Authorization", "Bearer "+key)
}

func TestTheAuditLogSaysWhoDidWhat(t *testing.T) {
	t.Parallel()
	r := setupKeys(t)
	key := r.key("acme", auth.ScopeJobsRead, auth.ScopeJobsWrite)
	acme, admin := r.client.WithToken(key), r.as(event.TenantDefault, auth.ScopeAdmin)
	job, err := acme.Submit(t.Context(), client.Submission{Questions: []string{"q"}}, &client.Upload{Name: "a.wav", Reader: strings.NewReader("R")}, client.SubmitOptions{})
	require.NoError(t, err)
	_, err = acme.Get(t.Context(), job.ID)
	require.NoError(t, err)
	_, err = acme.Cancel(t.Context(), job.ID)
	require.NoError(t, err)
	_, err = acme.Cancel(t.Context(), "nothing")
	require.Error(t, err)
	_, err = admin.CreateKey(t.Context(), client.NewKey{Tenant: "acme", Scopes: []string{auth.ScopeRuns}})
	require.NoError(t, err)

	log, err := admin.Audit(t.Context(), client.AuditOptions{})
	require.NoError(t, err)
	var actions []string
	for _, e := range log.Entries {
		actions = append(actions, e.Action)
		require.Equal(t, "127.0.0.1", e.Source)
		require.WithinDuration(t, time.Now(), e.At, patience)
	}
	require.Equal(t, []string{"create-key", "cancel-job", "submit-job"}, actions, "changes that were made, the newest first; no reads, no refusals")
	require.Equal(t, "/v1/jobs/"+job.ID, log.Entries[2].Target)
	require.Equal(t, "acme", log.Entries[2].Tenant)
	require.Equal(t, "key:"+strings.Split(key, "_")[1], log.Entries[2].Who)
	page, err := admin.Audit(t.Context(), client.AuditOptions{Tenant: "acme", Limit: 1})
	require.NoError(t, err)
	require.Len(t, page.Entries, 1)
	require.NotNil(t, page.Next)
	page, err = admin.Audit(t.Context(), client.AuditOptions{Tenant: "acme", Limit: 1, Cursor: *page.Next})
	require.NoError(t, err)
	require.Equal(t, "submit-job", page.Entries[0].Action)
	require.Nil(t, page.Next)
}

// TestJobsEndOnce: cancel and delete may be repeated, and cancelling what has ended says so.
func TestJobsEndOnce(t *testing.T) {
	t.Parallel()
	r := setupKeys(t)
	acme := r.as("acme", auth.ScopeJobsRead, auth.ScopeJobsWrite)
	submit := func(content string) client.Job {
		job, err := acme.Submit(t.Context(), client.Submission{Questions: []string{"q"}}, &client.Upload{Name: "a.wav", Reader: strings.NewReader(content)}, client.SubmitOptions{})
		require.NoError(t, err)
		return job
	}
	code := func(err error) string {
		p, ok := client.AsProblem(err)
		require.True(t, ok, "%v", err)
		return p.Code
	}
	done := submit("1")
	r.record(false, planOf(done.ID, 1, 1), answerOf(done.ID, 0, 0))
	_, err := acme.Cancel(t.Context(), done.ID)
	require.Equal(t, "job_ended", code(err))
	require.ErrorContains(t, err, "succeeded")
	cancelled := submit("2")
	for range 2 {
		_, err = acme.Cancel(t.Context(), cancelled.ID)
		require.NoError(t, err)
	}
	r.record(false, planOf(cancelled.ID, 1, 1), answerOf(cancelled.ID, 0, 0))
	_, err = acme.Cancel(t.Context(), cancelled.ID)
	require.NoError(t, err, "it was cancelled, and cancelling again changes nothing")

	for range 2 {
		require.NoError(t, acme.Delete(t.Context(), done.ID))
	}
	require.Equal(t, "job_not_found", code(r.as("other", auth.ScopeJobsWrite).Delete(t.Context(), done.ID)))
	require.Equal(t, "job_not_found", code(acme.Delete(t.Context(), "nothing")))
}

func TestLabelsMetadataAndCost(t *testing.T) {
	t.Parallel()
	r := setupRig(t, &rig{mode: auth.ModeNone}, func(d *api.Deps) {
		d.Retention = time.Hour
		d.Prices = api.Prices{Currency: "EUR", AudioSecond: 0.01, EncoderSecond: 1, PromptToken: 0.5, OutputToken: 2}
	})
	blue := client.Submission{Questions: []string{"a", "b"}, Labels: map[string]string{"album": "blue=ish"}, Metadata: map[string]string{"id": "17"}}
	job, err := r.client.Submit(t.Context(), blue, &client.Upload{Name: "a.wav", Reader: strings.NewReader("R")}, client.SubmitOptions{})
	require.NoError(t, err)
	require.Equal(t, blue.Labels, job.Labels)
	require.Equal(t, blue.Metadata, job.Metadata)
	require.Nil(t, job.ExpiresAt)
	r.submit("c")
	ids := func(o client.ListOptions) (ids []string) {
		list, err := r.client.List(t.Context(), o)
		require.NoError(t, err)
		for _, j := range list.Jobs {
			ids = append(ids, j.ID)
		}
		return ids
	}
	require.Equal(t, []string{job.ID}, ids(client.ListOptions{Label: "album=blue=ish"}))
	require.Empty(t, ids(client.ListOptions{Label: "album=red"}))
	require.Len(t, ids(client.ListOptions{Lane: "interactive"}), 2)
	require.Empty(t, ids(client.ListOptions{Lane: "bulk"}))
	require.Empty(t, ids(client.ListOptions{Until: job.CreatedAt}))
	require.Len(t, ids(client.ListOptions{Since: job.CreatedAt}), 2)

	for q, cache := range []eventpb.Cache{eventpb.Cache_CACHE_MISS, eventpb.Cache_CACHE_MISS} {
		e := answerOf(job.ID, q, 0)
		e.Outcome.Cache, e.Outcome.Timings, e.Outcome.Tokens = cache, &eventpb.Timings{EncodeMs: 3000}, &eventpb.Tokens{Prompt: 10, Output: 3}
		if q == 1 {
			e.Outcome.State = eventpb.State_STATE_FAILED
		}
		r.record(false, planOf(job.ID, 1, 2), e)
	}
	job, err = r.client.Get(t.Context(), job.ID)
	require.NoError(t, err)
	amount := 0.01*25 + 3 + 0.5*20 + 2*6
	require.InDelta(t, 25, job.Cost.AudioS, 1e-9)
	require.InDelta(t, 3, job.Cost.EncoderS, 1e-9)
	require.Equal(t, int64(20), job.Cost.PromptTokens)
	require.Equal(t, int64(6), job.Cost.OutputTokens)
	require.InDelta(t, amount, *job.Cost.Amount, 1e-9)
	require.Equal(t, job.EndedAt.Add(time.Hour), *job.ExpiresAt)
	outcomes, err := r.client.Outcomes(t.Context(), job.ID)
	require.NoError(t, err)
	require.Len(t, outcomes, 2)
	for _, o := range outcomes {
		require.Equal(t, blue.Labels, o.Labels)
		require.InDelta(t, 12.5, o.Cost.AudioS, 1e-9, "a failed outcome says too what it cost")
		require.InDelta(t, amount/2, *o.Cost.Amount, 1e-9)
	}
	many := map[string]string{}
	for i := range 17 {
		many[strings.Repeat("x", i+1)] = ""
	}
	for code, sub := range map[string]string{
		"labels_invalid": `"labels":{"a b":"c"}`, "metadata_invalid": `"metadata":{"a":"` + strings.Repeat("x", 513) + `"}`,
	} {
		require.Equal(t, code, r.json(`{"questions":["q"],"audio_ref":"`+job.Audio.SHA256+`",`+sub+`}`).problem(t).Code)
	}
	_, err = r.client.Submit(t.Context(), client.Submission{Questions: []string{"q"}, AudioRef: job.Audio.SHA256, Metadata: many}, nil, client.SubmitOptions{})
	require.ErrorContains(t, err, "the limit is 16")
}

// TestAHitThatAnotherTenantPaidForIsToldAsAMiss: whoever asks first learns nothing of who asked before.
func TestAHitThatAnotherTenantPaidForIsToldAsAMiss(t *testing.T) {
	t.Parallel()
	r := setupKeys(t)
	ask := func(tenant, question string) client.Outcome {
		c := r.as(tenant, auth.ScopeJobsRead, auth.ScopeJobsWrite)
		job, err := c.Submit(t.Context(), client.Submission{Questions: []string{question}}, &client.Upload{Name: "a.wav", Reader: strings.NewReader("same")}, client.SubmitOptions{})
		require.NoError(t, err)
		e := answerOf(job.ID, 0, 0)
		e.Outcome.AnswerCache, e.Outcome.Question.Text = eventpb.Cache_CACHE_HIT, question
		r.record(false, planOf(job.ID, 1, 1), e)
		outcomes, err := c.Outcomes(t.Context(), job.ID)
		require.NoError(t, err)
		require.Len(t, outcomes, 1)
		return outcomes[0]
	}
	first := ask("acme", "key?")
	require.Equal(t, []string{"miss", "miss"}, []string{first.Cache, first.AnswerCache}, "somebody else paid")
	again := ask("acme", "key?")
	require.Equal(t, []string{"hit", "hit"}, []string{again.Cache, again.AnswerCache}, "its own earlier job did")
	more := ask("acme", "tempo?")
	require.Equal(t, []string{"hit", "miss"}, []string{more.Cache, more.AnswerCache}, "the window is its own, the answer is not")
	require.Equal(t, "miss", ask("other", "key?").Cache)
}

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
	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
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
}{
	"submit-job":           {status: 422, body: `{"questions":["q"],"audio_ref":"$AUDIO"}`},
	"list-jobs":            {status: 200},
	"get-job":              {status: 404},
	"list-outcomes":        {status: 404},
	"watch-job":            {status: 404},
	"cancel-job":           {status: 404},
	"delete-job":           {status: 404},
	"supersede-outcomes":   {status: 404},
	"list-superseded":      {status: 404},
	"list-models":          {status: 200},
	"list-dead-letters":    {status: 403},
	"get-dead-letter":      {status: 403},
	"redrive-dead-letters": {status: 403, body: `{"everything":true}`},
	"purge-dead-letters":   {status: 403, body: `{"everything":true}`},
	"create-run":           {status: 404, body: `{"questions":["q"],"changed_since":"$RUN"}`},
	"list-runs":            {status: 200},
	"get-run":              {status: 404},
	"add-run-items":        {status: 404, body: `{"items":[{"id":"b","uri":"file:///b"}]}`},
	"list-run-items":       {status: 404},
	"start-run":            {status: 404},
	"pause-run":            {status: 404},
	"resume-run":           {status: 404},
	"cancel-run":           {status: 404},
	"retry-run":            {status: 404},
	"list-tenants":         {status: 403},
	"get-tenant":           {status: 403},
	"create-tenant":        {status: 403, body: `{"name":"third"}`},
	"change-tenant":        {status: 403, body: `{"isolated":true}`},
	"list-keys":            {status: 403},
	"create-key":           {status: 403, body: `{"scopes":["admin"]}`},
	"revoke-key":           {status: 403},
	"rotate-key":           {status: 403, body: `{}`},
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
	fill := strings.NewReplacer("{id}", job.ID, "{tenant}", "acme", "{key}", acmesKey, "$AUDIO", job.Audio.SHA256, "$RUN", run.ID)
	walked := 0
	for path, methods := range spec.Paths {
		path := fill.Replace(strings.NewReplacer("/dead/{id}", "/dead/0-0", "/runs/{id}", "/runs/"+run.ID).Replace(path))
		for method, op := range methods {
			walk, ok := walks[op.ID]
			require.True(t, ok, "operation %s has no rule: say in walks what it answers to another tenant", op.ID)
			walked++
			ask := func(key string) answer {
				header := []string{"Content-Type", "application/json"}
				if key != "" {
					header = append(header, "Authorization", "Bearer "+key)
				}
				return r.do(strings.ToUpper(method), path, strings.NewReader(fill.Replace(walk.body)), header...)
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
			require.NotContains(t, string(got.body), "acme's question", op.ID)
		}
	}
	require.Equal(t, len(walks), walked, "walks names no operation that there is not")
	still, err := r.as("acme", auth.ScopeJobsRead).Get(t.Context(), job.ID)
	require.NoError(t, err)
	require.Equal(t, client.StateSucceeded, still.State, "nothing of it was changed")
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
	keys, err := admin.Keys(t.Context(), "third", "")
	require.NoError(t, err)
	require.Len(t, keys.Keys, 2)
	raw, err := json.Marshal(keys)
	require.NoError(t, err)
	require.NotContains(t, string(raw), strings.Split(rotated.Secret, "_")[2], "secrets are shown once")
	page := r.do(http.MethodGet, "/v1/keys?limit=1", nil, "Authorization", "Bearer "+r.key(event.TenantDefault, auth.ScopeAdmin))
	require.Contains(t, string(page.body), `"next":"`)
}

package api

import (
	"context"
	"errors"
	"net/http"
	"regexp"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/gateway/internal/store"
)

// AdminStore is the part of the job store in which admins change who may do what.
type AdminStore interface {
	Tenants(ctx context.Context, after string, limit int) ([]store.Tenant, error)
	Tenant(ctx context.Context, name string) (store.Tenant, error)
	CreateTenant(ctx context.Context, t store.Tenant) (store.Tenant, error)
	SetTenant(ctx context.Context, name string, isolated bool, limits client.TenantLimits) (store.Tenant, error)
	Keys(ctx context.Context, tenant, after string, limit int) ([]store.Key, error)
	CreateKey(ctx context.Context, k store.Key) (store.Key, error)
	RevokeKey(ctx context.Context, id string) (store.Key, error)
	RotateKey(ctx context.Context, id string, fresh store.Key, overlap time.Duration) (store.Key, error)
	Usage(ctx context.Context, tenant string, at time.Time) (store.Usage, error)
	NoteAudit(ctx context.Context, a store.Audit) error
	AuditLog(ctx context.Context, q store.AuditQuery) ([]store.Audit, error)
	// Deleted tells whether a tenant has deleted the thing of a path.
	Deleted(ctx context.Context, tenant, action, target string) (bool, error)
}

var _ AdminStore = (*store.SQL)(nil)

// namePattern is a place in a list of tenants or keys.
var namePattern = regexp.MustCompile(`^[a-z0-9-]{1,63}$`)

type tenantListInput struct {
	Cursor string `query:"cursor" doc:"next of the page before" maxLength:"200"`
	Limit  int    `query:"limit" doc:"Tenants per page" minimum:"1" maximum:"100" default:"100"`
}

type tenantListOutput struct{ Body client.TenantList }

type tenantInput struct {
	Name string `path:"tenant" doc:"Name of the tenant" maxLength:"63"`
}

type tenantOutput struct{ Body client.Tenant }

type newTenantInput struct{ Body client.NewTenant }

type tenantChangeInput struct {
	Name string `path:"tenant" doc:"Name of the tenant" maxLength:"63"`
	Body client.TenantChange
}

func (a *API) registerTenants() {
	op := func(id, method, path, summary, description string) huma.Operation {
		o := a.operation(id, method, path, summary, description)
		o.Tags = []string{"admin"}
		return o
	}
	huma.Register(a.huma, op("list-tenants", http.MethodGet, "/v1/tenants", "List tenants", "By name, in pages."), a.listTenants)
	create := op("create-tenant", http.MethodPost, "/v1/tenants", "Create a tenant", "Jobs, keys and audio belong to a tenant and are hidden from all others.")
	create.DefaultStatus = http.StatusCreated
	huma.Register(a.huma, create, a.createTenant)
	huma.Register(a.huma, op("get-tenant", http.MethodGet, "/v1/tenants/{tenant}", "Get a tenant", "With its limits."), func(ctx context.Context, in *tenantInput) (*tenantOutput, error) {
		t, err := a.deps.Admin.Tenant(ctx, in.Name)
		return a.tenantAnswer(ctx, t, err)
	})
	huma.Register(a.huma, op("change-tenant", http.MethodPatch, "/v1/tenants/{tenant}", "Change a tenant",
		"Sets its limits, which all gateways obey within ten seconds, and `isolated`, which holds for jobs submitted from then on."), a.changeTenant)
}

func (a *API) listTenants(ctx context.Context, in *tenantListInput) (*tenantListOutput, error) {
	after, err := openName("t", in.Cursor)
	if err != nil {
		return nil, err
	}
	found, err := a.deps.Admin.Tenants(ctx, after, in.Limit+1)
	if err != nil {
		return nil, a.fail(ctx, err)
	}
	out := &tenantListOutput{Body: client.TenantList{Tenants: []client.Tenant{}}}
	if len(found) > in.Limit {
		found = found[:in.Limit]
		out.Body.Next = makeCursor("t", found[in.Limit-1].Name)
	}
	for _, t := range found {
		out.Body.Tenants = append(out.Body.Tenants, tenantView(t))
	}
	return out, nil
}

func (a *API) createTenant(ctx context.Context, in *newTenantInput) (*tenantOutput, error) {
	t, err := a.deps.Admin.CreateTenant(ctx, store.Tenant{Name: in.Body.Name, Isolated: in.Body.Isolated, Limits: in.Body.Limits})
	return a.tenantAnswer(ctx, t, err)
}

func (a *API) changeTenant(ctx context.Context, in *tenantChangeInput) (*tenantOutput, error) {
	t, err := a.deps.Admin.Tenant(ctx, in.Name)
	if err != nil {
		return a.tenantAnswer(ctx, t, err)
	}
	if in.Body.Isolated != nil {
		t.Isolated = *in.Body.Isolated
	}
	if in.Body.Limits != nil {
		t.Limits = *in.Body.Limits
	}
	t, err = a.deps.Admin.SetTenant(ctx, in.Name, t.Isolated, t.Limits)
	a.deps.Forget()
	return a.tenantAnswer(ctx, t, err)
}

func (a *API) tenantAnswer(ctx context.Context, t store.Tenant, err error) (*tenantOutput, error) {
	if err != nil {
		return nil, a.failAdmin(ctx, err)
	}
	return &tenantOutput{Body: tenantView(t)}, nil
}

// failAdmin turns an error into a problem.
func (a *API) failAdmin(ctx context.Context, err error) error {
	switch {
	case errors.Is(err, store.ErrNoTenant):
		return problem(http.StatusNotFound, codeTenantNotFound, "there is no such tenant; lark tenants create makes one")
	case errors.Is(err, store.ErrTenantExists):
		return problem(http.StatusConflict, codeTenantExists, "there is a tenant of this name already")
	case errors.Is(err, store.ErrNoKey):
		return problem(http.StatusNotFound, codeKeyNotFound, "there is no such key")
	case errors.Is(err, store.ErrKeyEnded):
		return problem(http.StatusConflict, codeKeyEnded, "the key is expired, revoked or rotated already; create a new one")
	}
	return a.fail(ctx, err)
}

func tenantView(t store.Tenant) client.Tenant {
	return client.Tenant{Name: t.Name, Isolated: t.Isolated, Limits: t.Limits, CreatedAt: t.Created}
}

// tenantOf is whose request it is.
func tenantOf(ctx context.Context) string { return auth.From(ctx).Tenant.Name }

// openName reads the cursor of a list that goes by names.
func openName(kind, cursor string) (string, error) {
	name, err := openCursorOf(kind, cursor, namePattern)
	return name, err
}

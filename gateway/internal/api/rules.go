package api

import (
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/larkstream/larkstream/gateway/internal/auth"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Names of the security schemes in the specification.
const (
	schemeKey   = "key"
	schemeLogin = "login"
)

const codeScopeMissing = "scope_missing"

// anyScope is the rule of operations that every caller may use.
const anyScope = ""

// rules name the scope that each operation needs. An operation without a rule cannot be registered.
var rules = map[string]string{
	"submit-job":             auth.ScopeJobsWrite,
	"list-jobs":              auth.ScopeJobsRead,
	"get-job":                auth.ScopeJobsRead,
	"list-outcomes":          auth.ScopeJobsRead,
	"watch-job":              auth.ScopeJobsRead,
	"cancel-job":             auth.ScopeJobsWrite,
	"delete-job":             auth.ScopeJobsWrite,
	"supersede-outcomes":     auth.ScopeJobsWrite,
	"list-superseded":        auth.ScopeJobsRead,
	"list-models":            anyScope,
	"upload-file":            auth.ScopeJobsWrite,
	"list-files":             auth.ScopeJobsRead,
	"get-file":               auth.ScopeJobsRead,
	"get-file-content":       auth.ScopeJobsRead,
	"delete-file":            auth.ScopeJobsWrite,
	"create-batch":           auth.ScopeJobsWrite,
	"list-batches":           auth.ScopeJobsRead,
	"get-batch":              auth.ScopeJobsRead,
	"cancel-batch":           auth.ScopeJobsWrite,
	"get-model":              anyScope,
	"create-chat-completion": auth.ScopeJobsWrite,
	"plan-run":               auth.ScopeRuns,
	"watch-run":              auth.ScopeRuns,
	"get-rates":              auth.ScopeRuns,
	"create-run":             auth.ScopeRuns,
	"list-runs":              auth.ScopeRuns,
	"get-run":                auth.ScopeRuns,
	"add-run-items":          auth.ScopeRuns,
	"list-run-items":         auth.ScopeRuns,
	"start-run":              auth.ScopeRuns,
	"pause-run":              auth.ScopeRuns,
	"resume-run":             auth.ScopeRuns,
	"cancel-run":             auth.ScopeRuns,
	"retry-run":              auth.ScopeRuns,
	"create-webhook":         auth.ScopeJobsWrite,
	"list-webhooks":          auth.ScopeJobsRead,
	"get-webhook":            auth.ScopeJobsRead,
	"change-webhook":         auth.ScopeJobsWrite,
	"delete-webhook":         auth.ScopeJobsWrite,
	"get-webhook-secrets":    auth.ScopeJobsWrite,
	"rotate-webhook":         auth.ScopeJobsWrite,
	"test-webhook":           auth.ScopeJobsWrite,
	"list-deliveries":        auth.ScopeJobsRead,
	"replay-deliveries":      auth.ScopeJobsWrite,
	"diff-run":               auth.ScopeRuns,
	"find-similar":           auth.ScopeRuns,
	"list-run-embeddings":    auth.ScopeRuns,
	"list-dead-letters":      auth.ScopeAdmin,
	"get-dead-letter":        auth.ScopeAdmin,
	"redrive-dead-letters":   auth.ScopeAdmin,
	"purge-dead-letters":     auth.ScopeAdmin,
	"get-limits":             anyScope,
	"list-audit":             auth.ScopeAdmin,
	"list-tenants":           auth.ScopeAdmin,
	"get-tenant":             auth.ScopeAdmin,
	"create-tenant":          auth.ScopeAdmin,
	"change-tenant":          auth.ScopeAdmin,
	"list-keys":              auth.ScopeAdmin,
	"create-key":             auth.ScopeAdmin,
	"revoke-key":             auth.ScopeAdmin,
	"rotate-key":             auth.ScopeAdmin,
}

// allowed lets callers pass who have the scope of the operation.
func (a *API) allowed(ctx huma.Context, next func(huma.Context)) {
	scope, ok := rules[ctx.Operation().OperationID]
	p := auth.From(ctx.Context())
	if !ok || (scope != anyScope && !p.May(scope)) {
		_, w := humago.Unwrap(ctx)
		refusal := problem(http.StatusForbidden, codeScopeMissing, "this needs a key with the scope %s; an admin makes one with lark keys create --scope %s", scope, scope)
		refusal.TraceID = telemetry.TraceID(ctx.Context())
		writeProblem(w, refusal)
		return
	}
	next(ctx)
}

// secured are the security requirements of an operation. It panics for an operation without a rule, which the first start meets.
func secured(operation string) []map[string][]string {
	scope, ok := rules[operation]
	if !ok {
		panic(fmt.Sprintf("operation %s has no rule: say in rules which scope it needs", operation))
	}
	roles := []string{}
	if scope != anyScope {
		roles = append(roles, scope)
	}
	return []map[string][]string{{schemeKey: roles}, {schemeLogin: roles}}
}

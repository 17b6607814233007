package auth

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/gateway/internal/store"
)

// Scopes say what a caller may do. None contains another.
const (
	ScopeJobsRead  = "jobs:read"
	ScopeJobsWrite = "jobs:write"
	ScopeRuns      = "runs"
	ScopeAdmin     = "admin"
)

// Scopes returns all scopes.
func Scopes() []string { return []string{ScopeJobsRead, ScopeJobsWrite, ScopeRuns, ScopeAdmin} }

// CheckScopes refuses an empty list and unknown scopes.
func CheckScopes(scopes []string) error {
	if len(scopes) == 0 {
		return fmt.Errorf("at least one scope is needed: %s", strings.Join(Scopes(), ", "))
	}
	for _, s := range scopes {
		if !slices.Contains(Scopes(), s) {
			return fmt.Errorf("scope %.40q is not known; the scopes are %s", s, strings.Join(Scopes(), ", "))
		}
	}
	return nil
}

// Principal is who sends a request.
type Principal struct {
	// Tenant is whose request it is, with its limits.
	Tenant store.Tenant
	// ID names the caller in the audit log: key:<id>, oidc:<subject>, token, or nobody.
	ID     string
	Scopes []string
}

// May tells whether the principal has a scope.
func (p Principal) May(scope string) bool { return slices.Contains(p.Scopes, scope) }

type principalKey struct{}

// With returns ctx with the principal.
func With(ctx context.Context, p Principal) context.Context {
	return context.WithValue(ctx, principalKey{}, p)
}

// From returns the principal of ctx. Without one it returns the zero Principal, which has no scope and no tenant.
func From(ctx context.Context) Principal {
	p, _ := ctx.Value(principalKey{}).(Principal)
	return p
}

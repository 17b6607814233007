package telemetry

import (
	"sync"

	"go.opentelemetry.io/otel/attribute"
)

const (
	// maxTenantNames bounds the series that tenants make.
	maxTenantNames = 100
	// otherTenants is the name of all tenants beyond the bound; no tenant can have it.
	otherTenants = "_other"
)

// tenantNames bounds the names of tenants in metrics: the first ones that a process meets have series of their own, the others share one.
type tenantNames struct {
	mu    sync.Mutex
	known map[string]bool
}

func newTenantNames() *tenantNames { return &tenantNames{known: make(map[string]bool)} }

func (t *tenantNames) attr(name string) attribute.KeyValue {
	t.mu.Lock()
	defer t.mu.Unlock()
	if !t.known[name] {
		if len(t.known) >= maxTenantNames {
			return AttrTenant.String(otherTenants)
		}
		t.known[name] = true
	}
	return AttrTenant.String(name)
}

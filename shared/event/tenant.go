package event

import (
	"fmt"
	"regexp"
)

// TenantDefault owns what nobody else owns: every job of a gateway without authentication, and fed jobs without HeaderTenant.
const TenantDefault = "default"

// IsolatedYes is the value of HeaderIsolated.
const IsolatedYes = "yes"

var tenantPattern = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)

// ValidTenant tells whether a text can be a tenant's name: 1 to 63 lower-case letters, digits and hyphens, as in a label of a DNS name.
func ValidTenant(name string) bool { return tenantPattern.MatchString(name) }

// TenantOf is whose record it is. ok is false for a record whose header names no tenant.
func TenantOf(rec Record) (name string, ok bool) {
	name = rec.Get(HeaderTenant)
	if name == "" {
		return TenantDefault, true
	}
	return name, ValidTenant(name)
}

// OfTenant returns a copy of the record that belongs to a tenant.
func OfTenant(rec Record, tenant string) Record {
	if tenant == "" || tenant == TenantDefault {
		return rec
	}
	return rec.With(HeaderTenant, tenant)
}

// Isolated returns a copy of the record whose tenant shares nothing that stages keep.
func Isolated(rec Record) Record { return rec.With(HeaderIsolated, IsolatedYes) }

// Owned gives a record the tenant of another one, of which it comes.
func Owned(rec, from Record) Record {
	rec = OfTenant(rec, from.Get(HeaderTenant))
	if from.Get(HeaderIsolated) == IsolatedYes {
		rec = Isolated(rec)
	}
	return rec
}

// KeyScope is the end of every key under which a stage keeps what it makes of a record. It is empty for all tenants that share, and "@" with the name
// of a tenant that is isolated. It fails for an isolated record whose header names no tenant.
func KeyScope(rec Record) (string, error) {
	if rec.Get(HeaderIsolated) != IsolatedYes {
		return "", nil
	}
	tenant, ok := TenantOf(rec)
	if !ok {
		return "", fmt.Errorf("header %s %.80q names no tenant", HeaderTenant, tenant)
	}
	return ScopeOf(tenant), nil
}

// ScopeOf is the KeyScope of an isolated tenant's records.
func ScopeOf(tenant string) string { return "@" + tenant }

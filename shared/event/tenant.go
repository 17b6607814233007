package event

import "regexp"

// TenantDefault owns what nobody else owns: every job of a gateway without authentication, and fed jobs without HeaderTenant.
const TenantDefault = "default"

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

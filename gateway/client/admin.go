package client

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"time"
)

// TenantLimits bound what a tenant may do, and say how it stands beside others. A limit of 0 is not set.
type TenantLimits struct {
	RequestsPerS      float64 `json:"requests_per_s,omitempty" doc:"Requests a second at each gateway, with a reserve of as many; 0 = no limit" minimum:"0" maximum:"1000000"`
	AudioSPerDay      float64 `json:"audio_s_per_day,omitempty" doc:"Seconds of audio that jobs hear in one day (UTC); 0 = no limit" minimum:"0"`
	UploadBytesPerDay int64   `json:"upload_bytes_per_day,omitempty" doc:"Bytes of audio taken in in one day (UTC); 0 = no limit" minimum:"0"`
	WindowsInFlight   int     `json:"windows_in_flight,omitempty" doc:"Windows of open jobs that have not ended; a job with more may run alone; 0 = no limit" minimum:"0"`
	OpenJobs          int     `json:"open_jobs,omitempty" doc:"Jobs that have not ended; 0 = no limit" minimum:"0"`
	Weight            float64 `json:"weight,omitempty" doc:"Share of each lane beside other tenants' while jobs wait: with 3, three times the seconds of audio of a tenant with 1; 0 = 1" minimum:"0" maximum:"1000"`
	RetentionS        float64 `json:"retention_s,omitempty" doc:"Seconds after which an ended job is deleted with its outcomes; 0 = the gateway's own retention" minimum:"0" maximum:"3153600000"`
}

// Tenant owns jobs, keys and audio.
type Tenant struct {
	Name      string       `json:"name" doc:"1 to 63 lower-case letters, digits and hyphens"`
	Isolated  bool         `json:"isolated" doc:"Shares no embedding, soft prompt, plan or answer with other tenants: it uses none of theirs and leaves none to them. Holds for jobs submitted from then on"`
	Limits    TenantLimits `json:"limits"`
	CreatedAt time.Time    `json:"created_at"`
}

// TenantList is a page of tenants by name.
type TenantList struct {
	Tenants []Tenant `json:"tenants"`
	Next    *string  `json:"next" doc:"Cursor of the next page; null at the end"`
}

// NewTenant asks for a tenant.
type NewTenant struct {
	Name     string       `json:"name" doc:"1 to 63 lower-case letters, digits and hyphens" pattern:"^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$"`
	Isolated bool         `json:"isolated,omitempty" doc:"Shares no embedding, soft prompt, plan or answer with other tenants: it uses none of theirs and leaves none to them. Holds for jobs submitted from then on"`
	Limits   TenantLimits `json:"limits,omitzero"`
}

// TenantChange replaces what can be changed of a tenant; what it leaves out stays.
type TenantChange struct {
	Isolated *bool         `json:"isolated,omitempty" doc:"Shares no embedding, soft prompt, plan or answer with other tenants: it uses none of theirs and leaves none to them. Holds for jobs submitted from then on"`
	Limits   *TenantLimits `json:"limits,omitempty" doc:"All limits; what is left out is not set"`
}

// States of a key.
const (
	KeyActive  = "active"
	KeyExpired = "expired"
	KeyRevoked = "revoked"
)

// Key is a key without its secret.
type Key struct {
	ID         string     `json:"id"`
	Tenant     string     `json:"tenant"`
	Name       string     `json:"name,omitempty"`
	Scopes     []string   `json:"scopes" enum:"jobs:read,jobs:write,runs,admin"`
	State      string     `json:"state" enum:"active,expired,revoked"`
	CreatedAt  time.Time  `json:"created_at"`
	ExpiresAt  *time.Time `json:"expires_at,omitempty"`
	RevokedAt  *time.Time `json:"revoked_at,omitempty"`
	ReplacedBy string     `json:"replaced_by,omitempty" doc:"Id of the key that rotation made in its place"`
}

// KeyList is a page of keys by id.
type KeyList struct {
	Keys []Key   `json:"keys"`
	Next *string `json:"next" doc:"Cursor of the next page; null at the end"`
}

// NewKey asks for a key.
type NewKey struct {
	Tenant     string   `json:"tenant,omitempty" doc:"Whose key it is; left out = the caller's tenant" maxLength:"63"`
	Name       string   `json:"name,omitempty" doc:"What its owner calls it" maxLength:"100"`
	Scopes     []string `json:"scopes" doc:"What its holder may do; none contains another" enum:"jobs:read,jobs:write,runs,admin" minItems:"1" maxItems:"4"`
	ExpiresInS float64  `json:"expires_in_s,omitempty" doc:"Seconds until it expires; 0 = never" minimum:"0" maximum:"315360000"`
}

// KeyRotation asks for a key in place of another.
type KeyRotation struct {
	OverlapS float64 `json:"overlap_s,omitempty" doc:"Seconds for which the old key works on; 0 = it ends at once" minimum:"0" maximum:"2592000"`
}

// MadeKey is a new key with its secret, which is shown this once.
type MadeKey struct {
	Key
	Secret string `json:"secret" doc:"The whole key, lk_<id>_<secret>: send it as a bearer token. It is shown this once"`
}

// CreateTenant makes a tenant.
func (c *Client) CreateTenant(ctx context.Context, t NewTenant) (made Tenant, err error) {
	if err := c.post(ctx, c.base.JoinPath("/v1/tenants"), t, &made); err != nil {
		return Tenant{}, fmt.Errorf("creating tenant %s: %w", t.Name, err)
	}
	return made, nil
}

// Tenants returns a page of tenants by name.
func (c *Client) Tenants(ctx context.Context, cursor string) (list TenantList, err error) {
	u := c.base.JoinPath("/v1/tenants")
	u.RawQuery = query(map[string]string{"cursor": cursor})
	if err := c.get(ctx, u, &list); err != nil {
		return TenantList{}, fmt.Errorf("listing tenants: %w", err)
	}
	return list, nil
}

// Tenant returns a tenant.
func (c *Client) Tenant(ctx context.Context, name string) (t Tenant, err error) {
	if err := c.get(ctx, c.base.JoinPath("/v1/tenants", url.PathEscape(name)), &t); err != nil {
		return Tenant{}, fmt.Errorf("reading tenant %s: %w", name, err)
	}
	return t, nil
}

// ChangeTenant changes a tenant.
func (c *Client) ChangeTenant(ctx context.Context, name string, change TenantChange) (t Tenant, err error) {
	if err := c.send(ctx, http.MethodPatch, c.base.JoinPath("/v1/tenants", url.PathEscape(name)), change, &t); err != nil {
		return Tenant{}, fmt.Errorf("changing tenant %s: %w", name, err)
	}
	return t, nil
}

// CreateKey makes a key. Its secret is in the answer and nowhere else.
func (c *Client) CreateKey(ctx context.Context, k NewKey) (made MadeKey, err error) {
	if err := c.post(ctx, c.base.JoinPath("/v1/keys"), k, &made); err != nil {
		return MadeKey{}, fmt.Errorf("creating key: %w", err)
	}
	return made, nil
}

// Keys returns a page of keys by id; tenant "" is all tenants.
func (c *Client) Keys(ctx context.Context, tenant, cursor string) (list KeyList, err error) {
	u := c.base.JoinPath("/v1/keys")
	u.RawQuery = query(map[string]string{"tenant": tenant, "cursor": cursor})
	if err := c.get(ctx, u, &list); err != nil {
		return KeyList{}, fmt.Errorf("listing keys: %w", err)
	}
	return list, nil
}

// RevokeKey makes a key useless from now on.
func (c *Client) RevokeKey(ctx context.Context, id string) (k Key, err error) {
	if err := c.post(ctx, c.base.JoinPath("/v1/keys", url.PathEscape(id), "revoke"), nil, &k); err != nil {
		return Key{}, fmt.Errorf("revoking key %s: %w", id, err)
	}
	return k, nil
}

// RotateKey makes a key in place of another, which works on for the overlap.
func (c *Client) RotateKey(ctx context.Context, id string, overlap time.Duration) (made MadeKey, err error) {
	if err := c.post(ctx, c.base.JoinPath("/v1/keys", url.PathEscape(id), "rotate"), KeyRotation{OverlapS: overlap.Seconds()}, &made); err != nil {
		return MadeKey{}, fmt.Errorf("rotating key %s: %w", id, err)
	}
	return made, nil
}

// TenantUsage is what a tenant has used of its limits.
type TenantUsage struct {
	AudioSToday      float64 `json:"audio_s_today" doc:"Seconds of audio that jobs hear, planned since midnight (UTC)"`
	UploadBytesToday int64   `json:"upload_bytes_today" doc:"Bytes of audio taken in since midnight (UTC)"`
	WindowsInFlight  int     `json:"windows_in_flight"`
	OpenJobs         int     `json:"open_jobs"`
}

// LimitsStatus are the limits of the caller's tenant and what is used of them.
type LimitsStatus struct {
	Tenant string       `json:"tenant"`
	Limits TenantLimits `json:"limits"`
	Used   TenantUsage  `json:"used"`
}

// AuditEntry says who did what, when and from where.
type AuditEntry struct {
	At      time.Time `json:"at"`
	Tenant  string    `json:"tenant" doc:"The caller's"`
	Who     string    `json:"who" doc:"key:ID, oidc:SUBJECT, token, or nobody with auth none"`
	Action  string    `json:"action" doc:"The operationId"`
	Target  string    `json:"target" doc:"Path of what it was done to"`
	Source  string    `json:"source" doc:"Address of the client"`
	TraceID string    `json:"trace_id,omitempty"`
}

// AuditList is a page of the audit log, the newest entry first.
type AuditList struct {
	Entries []AuditEntry `json:"entries"`
	Next    *string      `json:"next" doc:"Cursor of the next page; null at the end"`
}

// AuditOptions select entries of the audit log; zero values mean all.
type AuditOptions struct {
	Tenant, Who, Action string
	Since, Until        time.Time
	Cursor              string
	Limit               int
}

// Limits returns the limits of the caller's tenant.
func (c *Client) Limits(ctx context.Context) (status LimitsStatus, err error) {
	if err := c.get(ctx, c.base.JoinPath("/v1/limits"), &status); err != nil {
		return LimitsStatus{}, fmt.Errorf("reading limits: %w", err)
	}
	return status, nil
}

// Audit returns a page of the audit log.
func (c *Client) Audit(ctx context.Context, o AuditOptions) (list AuditList, err error) {
	u := c.base.JoinPath("/v1/audit")
	u.RawQuery = query(map[string]string{
		"tenant": o.Tenant, "who": o.Who, "action": o.Action, "since": moment(o.Since), "until": moment(o.Until), "cursor": o.Cursor, "limit": number(o.Limit),
	})
	if err := c.get(ctx, u, &list); err != nil {
		return AuditList{}, fmt.Errorf("reading audit log: %w", err)
	}
	return list, nil
}

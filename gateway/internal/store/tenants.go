package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
)

// Errors that callers tell apart.
var (
	ErrNoTenant     = errors.New("tenant not found")
	ErrTenantExists = errors.New("tenant exists already")
)

// Tenant owns jobs, keys and audio.
type Tenant struct {
	Name string
	// Isolated: the stages keep what they make of its jobs for it alone.
	Isolated bool
	Limits   client.TenantLimits
	Created  time.Time
}

const tenantColumns = `tenant, isolated, limits, created_ms`

func scanTenant(row scanner) (Tenant, error) {
	var t Tenant
	var limits string
	var created int64
	err := row.Scan(&t.Name, &t.Isolated, &limits, &created)
	if errors.Is(err, sql.ErrNoRows) {
		return Tenant{}, ErrNoTenant
	}
	if err != nil {
		return Tenant{}, err
	}
	t.Created = fromMillis(created)
	return t, json.Unmarshal([]byte(limits), &t.Limits)
}

// Tenant returns a tenant, or ErrNoTenant.
func (s *SQL) Tenant(ctx context.Context, name string) (Tenant, error) {
	t, err := scanTenant(s.rowRead(ctx, `SELECT `+tenantColumns+` FROM tenants WHERE tenant = ?`, name))
	if err != nil {
		return Tenant{}, fmt.Errorf("reading tenant %.64q: %w", name, err)
	}
	return t, nil
}

// Tenants returns up to limit tenants by name, after a name.
func (s *SQL) Tenants(ctx context.Context, after string, limit int) (tenants []Tenant, err error) {
	err = s.queryRead(ctx, func(rows *sql.Rows) error {
		t, err := scanTenant(rows)
		tenants = append(tenants, t)
		return err
	}, `SELECT `+tenantColumns+` FROM tenants WHERE tenant > ? ORDER BY tenant LIMIT ?`, after, limit)
	if err != nil {
		return nil, fmt.Errorf("listing tenants: %w", err)
	}
	return tenants, nil
}

// CreateTenant writes a new tenant, or fails with ErrTenantExists.
func (s *SQL) CreateTenant(ctx context.Context, t Tenant) (Tenant, error) {
	limits, err := json.Marshal(t.Limits)
	if err != nil {
		return Tenant{}, fmt.Errorf("creating tenant %s: %w", t.Name, err)
	}
	t.Created = s.now().UTC().Truncate(time.Millisecond)
	err = s.inTx(ctx, func(tx *tx) error {
		n, err := tx.exec(ctx, `INSERT INTO tenants (`+tenantColumns+`) VALUES (?, ?, ?, ?) ON CONFLICT (tenant) DO NOTHING`,
			t.Name, t.Isolated, string(limits), millis(t.Created))
		if err == nil && n == 0 {
			return ErrTenantExists
		}
		return err
	})
	if err != nil {
		return Tenant{}, fmt.Errorf("creating tenant %s: %w", t.Name, err)
	}
	return t, nil
}

// SetTenant changes whether a tenant is isolated and its limits, or fails with ErrNoTenant.
func (s *SQL) SetTenant(ctx context.Context, name string, isolated bool, limits client.TenantLimits) (t Tenant, err error) {
	raw, err := json.Marshal(limits)
	if err != nil {
		return Tenant{}, fmt.Errorf("changing tenant %s: %w", name, err)
	}
	err = s.inTx(ctx, func(tx *tx) (err error) {
		t, err = scanTenant(tx.row(ctx, `UPDATE tenants SET isolated = ?, limits = ? WHERE tenant = ? RETURNING `+tenantColumns, isolated, string(raw), name))
		return err
	})
	if err != nil {
		return Tenant{}, fmt.Errorf("changing tenant %.64q: %w", name, err)
	}
	return t, nil
}

// OwnsAudio tells whether a tenant has sent audio with this hash.
func (s *SQL) OwnsAudio(ctx context.Context, tenant, sha256 string) (bool, error) {
	var n int
	err := s.rowRead(ctx, `SELECT COUNT(*) FROM tenant_audio WHERE tenant = ? AND sha256 = ?`, tenant, sha256).Scan(&n)
	if err != nil {
		return false, fmt.Errorf("reading whose audio it is: %w", err)
	}
	return n > 0, nil
}

// ownAudio notes that a tenant has sent audio.
func ownAudio(ctx context.Context, tx *tx, tenant, sha256 string, now time.Time) error {
	_, err := tx.exec(ctx, `INSERT INTO tenant_audio (tenant, sha256, used_ms) VALUES (?, ?, ?)
		ON CONFLICT (tenant, sha256) DO UPDATE SET used_ms = excluded.used_ms`, tenant, sha256, millis(now))
	return err
}

// ForgetAudio removes what says that audio is a tenant's where no job has named the audio since a time.
func (s *SQL) ForgetAudio(ctx context.Context, tenant string, before time.Time) error {
	err := s.inTx(ctx, func(tx *tx) error {
		_, err := tx.exec(ctx, `DELETE FROM tenant_audio WHERE tenant = ? AND used_ms < ?
			AND NOT EXISTS (SELECT 1 FROM jobs WHERE jobs.audio_sha256 = tenant_audio.sha256 AND jobs.tenant = tenant_audio.tenant AND jobs.ended_ms = 0)`, tenant, millis(before))
		return err
	})
	if err != nil {
		return fmt.Errorf("forgetting whose old audio is: %w", err)
	}
	return nil
}

// Retentions is how long each tenant that has jobs or audio keeps them: 0 where the tenant does not say.
func (s *SQL) Retentions(ctx context.Context) (map[string]time.Duration, error) {
	kept := make(map[string]time.Duration)
	for _, table := range []string{"jobs", "tenant_audio"} { // one step of the index for each tenant: there are many jobs
		for name := ""; ; {
			err := s.rowRead(ctx, `SELECT tenant FROM `+table+` WHERE tenant > ? ORDER BY tenant LIMIT 1`, name).Scan(&name)
			if errors.Is(err, sql.ErrNoRows) {
				break
			}
			if err != nil {
				return nil, fmt.Errorf("reading the retention of tenants: %w", err)
			}
			kept[name] = 0
		}
	}
	for name := range kept {
		t, err := s.Tenant(ctx, name)
		if err != nil && !errors.Is(err, ErrNoTenant) { // a fed job may name any
			return nil, err
		}
		kept[name] = time.Duration(t.Limits.RetentionS * float64(time.Second))
	}
	return kept, nil
}

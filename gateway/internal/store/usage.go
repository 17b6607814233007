package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/larkstream/larkstream/gateway/client"
)

// Usage is what a tenant has used of its limits.
type Usage struct {
	// AudioS and UploadBytes are of the day (UTC).
	AudioS      float64
	UploadBytes int64
	// OpenJobs have not ended, and Windows of them neither; a job that is not planned counts for the windows that are expected of it.
	OpenJobs, Windows int
}

// LimitError refuses a job that would pass a limit of its tenant.
type LimitError struct {
	// Name of the limit in JSON.
	Name string
	// Most is the limit.
	Most float64
}

// Error implements error.
func (e *LimitError) Error() string {
	return fmt.Sprintf("tenant is at its limit %s of %g", e.Name, e.Most)
}

// dayOf is the day of a time, in days since 1970 (UTC).
func dayOf(t time.Time) int64 { return t.Unix() / int64(24*time.Hour/time.Second) }

// openOf is what the tenant's open jobs are. Adopted jobs count too: they are work like any other.
const openOf = `SELECT COUNT(*), COALESCE(SUM(CASE WHEN planned_ms = 0 THEN expected_windows
	ELSE windows - (answered + failed + cancelled) / questions END), 0) FROM jobs WHERE tenant = ? AND ended_ms = 0`

const usedOf = `SELECT audio_s, upload_bytes FROM tenant_usage WHERE tenant = ? AND day = ?`

// Usage returns what a tenant has used on the day of a time, and what is open of it.
func (s *SQL) Usage(ctx context.Context, tenant string, at time.Time) (Usage, error) {
	var u Usage
	err := s.rowRead(ctx, openOf, tenant).Scan(&u.OpenJobs, &u.Windows)
	if err == nil {
		err = s.rowRead(ctx, usedOf, tenant, dayOf(at)).
			Scan(&u.AudioS, &u.UploadBytes)
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return Usage{}, fmt.Errorf("reading usage of tenant %.64q: %w", tenant, err)
	}
	return u, nil
}

// limitWindows is the name of the limit of windows in flight.
const limitWindows = "windows_in_flight"

// Check refuses with a *LimitError what passes a limit: a job of so many windows, with so many bytes of audio sent for it. Audio seconds are known
// only once the track is cut, so that the last job of a day may pass their limit.
func (u Usage) Check(l client.TenantLimits, windows int, bytes int64) error {
	for _, c := range []struct {
		name       string
		most, used float64
	}{
		{"audio_s_per_day", l.AudioSPerDay, u.AudioS},
		{"open_jobs", float64(l.OpenJobs), float64(u.OpenJobs)},
		{limitWindows, float64(l.WindowsInFlight), float64(u.Windows + windows - 1)},
		{"upload_bytes_per_day", float64(l.UploadBytesPerDay), float64(u.UploadBytes + bytes - 1)},
	} {
		// Who has nothing in flight may have one job there that is larger than the limit, or that job would wait for ever. The windows of a whole track are
		// not known before it is cut.
		if c.name == limitWindows && u.Windows == 0 {
			continue
		}
		if c.most > 0 && c.used >= c.most {
			return &LimitError{Name: c.name, Most: c.most}
		}
	}
	return nil
}

// Counted tells whether any limit is set that depends on what the tenant has used.
func Counted(l client.TenantLimits) bool {
	return l.AudioSPerDay > 0 || l.UploadBytesPerDay > 0 || l.WindowsInFlight > 0 || l.OpenJobs > 0
}

// Room is how many jobs of one window the limits leave; math.MaxInt without limits.
func (u Usage) Room(l client.TenantLimits) int {
	room := math.MaxInt
	if u.Check(l, 1, 0) != nil {
		return 0
	}
	if l.OpenJobs > 0 {
		room = min(room, l.OpenJobs-u.OpenJobs)
	}
	if l.WindowsInFlight > 0 {
		room = min(room, l.WindowsInFlight-u.Windows)
	}
	return room
}

// lockTenants reads what the tenants with limits have used. Their submissions take turns from here to the end of the transaction, so that two at once do
// not both take the last place under a limit. The rows are locked in the order of names, so that two gateways never wait for each other. Tenants without
// limits cost no query.
func (c *creating) lockTenants(ctx context.Context, calls []creation) error {
	c.usage, c.sent = make(map[string]*Usage), make(map[string]Usage)
	for _, call := range calls {
		if Counted(call.opts.Limits) {
			c.usage[call.job.Tenant] = nil
		}
	}
	for _, tenant := range slices.Sorted(maps.Keys(c.usage)) {
		u, err := lockUsage(ctx, c.tx, tenant, c.now)
		if err != nil {
			return err
		}
		c.usage[tenant] = u
	}
	return nil
}

// lockTenant makes those who lock the same tenant wait until the transaction ends. It fails with ErrNoTenant.
func lockTenant(ctx context.Context, tx *tx, tenant string) error {
	var name string
	err := tx.row(ctx, `SELECT tenant FROM tenants WHERE tenant = ?`+tx.dialect.lock, tenant).Scan(&name)
	if errors.Is(err, sql.ErrNoRows) {
		return ErrNoTenant
	}
	return err
}

// lockUsage reads what a tenant has used. Others who do so wait from here to the end of the transaction.
func lockUsage(ctx context.Context, tx *tx, tenant string, at time.Time) (*Usage, error) {
	if err := lockTenant(ctx, tx, tenant); err != nil && !errors.Is(err, ErrNoTenant) {
		return nil, err
	}
	var u Usage
	err := tx.row(ctx, openOf, tenant).Scan(&u.OpenJobs, &u.Windows)
	if err == nil {
		err = tx.row(ctx, usedOf, tenant, dayOf(at)).Scan(&u.AudioS, &u.UploadBytes)
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, err
	}
	return &u, nil
}

// use counts a new job and the bytes that were sent for it.
func (c *creating) use(job Job, bytes int64) {
	if u := c.usage[job.Tenant]; u != nil {
		u.OpenJobs++
		u.Windows += expectedWindows(job)
		u.UploadBytes += bytes
	}
	if bytes > 0 {
		sent := c.sent[job.Tenant]
		sent.UploadBytes += bytes
		c.sent[job.Tenant] = sent
	}
}

// noteUse adds to what tenants have used on the day of a time. It is the last step of a transaction and goes by tenants in order, so that no two
// transactions wait for each other.
func noteUse(ctx context.Context, tx *tx, at time.Time, used map[string]Usage) error {
	for _, tenant := range slices.Sorted(maps.Keys(used)) {
		_, err := tx.exec(ctx, `INSERT INTO tenant_usage (tenant, day, audio_s, upload_bytes) VALUES (?, ?, ?, ?)
			ON CONFLICT (tenant, day) DO UPDATE SET audio_s = tenant_usage.audio_s + excluded.audio_s, upload_bytes = tenant_usage.upload_bytes + excluded.upload_bytes`,
			tenant, dayOf(at), used[tenant].AudioS, used[tenant].UploadBytes)
		if err != nil {
			return err
		}
	}
	return nil
}

package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
)

// flood creates 20 jobs of 12 expected windows and 7 bytes at the same time, by turns at each store, and returns how many were made and which limits
// refused the others.
func flood(t *testing.T, limits client.TenantLimits, stores ...*store.SQL) (made int, refused map[string]int) {
	t.Helper()
	for _, s := range stores {
		s.SetNow(func() time.Time { return created }) // one day for all
	}
	errs := make([]error, 20)
	var wg sync.WaitGroup
	for i := range errs {
		wg.Go(func() {
			job := newJob(fmt.Sprintf("j%02d", i), "q")
			job.Labels = map[string]string{"album": "blue"}
			errs[i] = stores[i%len(stores)].Create(t.Context(), job, nil, store.CreateOptions{
				Limits: limits, UploadBytes: job.Audio.Bytes, Audit: &store.Audit{Tenant: job.Tenant, Who: "key:1", Action: "submit-job"},
			})
		})
	}
	wg.Wait()
	refused = make(map[string]int)
	for _, err := range errs {
		if err == nil {
			made++
			continue
		}
		var limit *store.LimitError
		require.ErrorAs(t, err, &limit)
		refused[limit.Name]++
	}
	return made, refused
}

var limited = []struct {
	name   string
	limits client.TenantLimits
	made   int
}{
	{"open_jobs", client.TenantLimits{OpenJobs: 5}, 5},
	{"windows_in_flight", client.TenantLimits{WindowsInFlight: 3*12 + 11}, 3},
	{"windows_in_flight", client.TenantLimits{WindowsInFlight: 5}, 1}, // a job that is larger than the limit has it for itself
	{"upload_bytes_per_day", client.TenantLimits{UploadBytesPerDay: 4*7 + 6}, 4},
}

// requireMade checks that the jobs that were made have been counted and noted, and that refused jobs have left nothing.
func requireMade(t *testing.T, s *store.SQL, n int) {
	t.Helper()
	used, err := s.Usage(t.Context(), event.TenantDefault, created)
	require.NoError(t, err)
	require.Equal(t, store.Usage{UploadBytes: int64(7 * n), OpenJobs: n, Windows: 12 * n}, used)
	noted, err := s.AuditLog(t.Context(), store.AuditQuery{Tenant: event.TenantDefault, Action: "submit-job", Limit: 100})
	require.NoError(t, err)
	require.Len(t, noted, n)
	listed, err := s.List(t.Context(), store.ListQuery{Tenant: event.TenantDefault, Label: "album", LabelValue: "blue", Limit: 100})
	require.NoError(t, err)
	require.Len(t, listed, n)
	require.Equal(t, map[string]string{"album": "blue"}, listed[0].Labels)
}

// TestJobsCreatedTogetherKeepTheLimits: jobs that share a transaction count for each other.
func TestJobsCreatedTogetherKeepTheLimits(t *testing.T) {
	t.Parallel()
	for _, c := range limited {
		t.Run(fmt.Sprint(c.name, c.made), func(t *testing.T) {
			t.Parallel()
			each(t, func(t *testing.T, s *store.SQL) {
				made, refused := flood(t, c.limits, s)
				require.Equal(t, c.made, made)
				require.Equal(t, map[string]int{c.name: 20 - c.made}, refused)
				requireMade(t, s, c.made)
			})
		})
	}
}

// TestTwoGatewaysKeepTheLimitsOfATenant: two gateways do not both give away the last place under a limit.
func TestTwoGatewaysKeepTheLimitsOfATenant(t *testing.T) {
	t.Parallel()
	for _, c := range limited {
		t.Run(fmt.Sprint(c.name, c.made), func(t *testing.T) {
			t.Parallel()
			a, b := pair(t)
			made, refused := flood(t, c.limits, a, b)
			require.Equal(t, c.made, made)
			require.Equal(t, map[string]int{c.name: 20 - c.made}, refused)
			requireMade(t, a, c.made)
		})
	}
}

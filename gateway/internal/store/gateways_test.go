package store_test

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/gateway/pgtest"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// pair is the stores of two gateways on one PostgreSQL.
func pair(t *testing.T) (a, b *store.SQL) {
	t.Helper()
	url := pgtest.Database(t)
	return open(t, url), open(t, url)
}

// both runs one thing on each of two gateways at the same time.
func both(a, b *store.SQL, do func(s *store.SQL)) {
	var wg sync.WaitGroup
	wg.Go(func() { do(a) })
	wg.Go(func() { do(b) })
	wg.Wait()
}

// TestRelayHandsRecordsToOneGateway: while a gateway publishes records, the others are given other records, and those of a gateway that could not
// publish them come again.
func TestRelayHandsRecordsToOneGateway(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	for i := range 6 {
		create(t, a, newJob(fmt.Sprint("j", i), "q"))
	}
	keys := func(o []store.Outgoing) (out []string) {
		for _, r := range o {
			out = append(out, r.Record.Key)
		}
		return out
	}
	n, err := a.Relay(t.Context(), 4, func(first []store.Outgoing) error {
		require.Equal(t, []string{"j0", "j1", "j2", "j3"}, keys(first))
		n, err := b.Relay(t.Context(), 4, func(second []store.Outgoing) error {
			require.Equal(t, []string{"j4", "j5"}, keys(second))
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 2, n)
		return errors.New("no broker")
	})
	require.ErrorContains(t, err, "no broker")
	require.Zero(t, n)
	n, err = b.Relay(t.Context(), 10, func(again []store.Outgoing) error {
		require.Len(t, again, 4)
		return nil
	})
	require.NoError(t, err)
	require.Equal(t, 4, n)
}

func TestRelay(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		n, err := s.Relay(t.Context(), 10, nil)
		require.NoError(t, err)
		require.Zero(t, n)
		create(t, s, newJob("j1", "q"))
		_, err = s.Relay(t.Context(), 10, func([]store.Outgoing) error { return errors.New("no broker") })
		require.ErrorContains(t, err, "no broker")
		n, err = s.Relay(t.Context(), 10, func(o []store.Outgoing) error {
			require.Equal(t, "j1", o[0].Record.Key)
			require.Equal(t, created, o[0].Created)
			return nil
		})
		require.NoError(t, err)
		require.Equal(t, 1, n)
		n, _, err = s.OutboxDepth(t.Context())
		require.NoError(t, err)
		require.Zero(t, n)
	})
}

// TestTwoGatewaysKeepTheLimits: neither the number of open jobs nor the windows in Kafka pass their limit by a race.
func TestTwoGatewaysKeepTheLimits(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	var mu sync.Mutex
	made, refused, next := 0, 0, 0
	both(a, b, func(s *store.SQL) {
		for range 20 {
			mu.Lock()
			next++
			job := bulkJob(fmt.Sprintf("j%02d", next))
			mu.Unlock()
			rec, err := recordOf(job)
			require.NoError(t, err)
			err = s.Create(t.Context(), job, []event.Record{rec}, store.CreateOptions{MaxOpen: 30, MaxWindows: 10})
			mu.Lock()
			if err == nil {
				made++
			} else {
				require.ErrorIs(t, err, store.ErrTooManyJobs)
				refused++
			}
			mu.Unlock()
		}
	})
	require.Equal(t, []int{30, 10}, []int{made, refused})
	require.Len(t, sent(t, a), 10)
	both(a, b, func(s *store.SQL) {
		for range 5 {
			_, err := s.Admit(t.Context(), store.Admission{Lane: event.LaneBulk, MaxWindows: 15, Limit: 2, Record: recordOf})
			require.NoError(t, err)
		}
	})
	keys := sent(t, a)
	require.Len(t, keys, 5)
	slices.Sort(keys)
	require.Len(t, slices.Compact(keys), 5, "no job is admitted twice")
}

// TestTwoRecorders: during a rebalance two gateways may be given the same records at once.
func TestTwoRecorders(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	const jobs = 8
	var entries []store.Entry
	for i := range jobs {
		id := fmt.Sprint("j", i)
		entries = append(entries, all(id, 2, 2, eventpb.State_STATE_ANSWERED)...)
	}
	var mu sync.Mutex
	adopted, added, ended := 0, 0, 0
	both(a, b, func(s *store.SQL) {
		for i := range jobs {
			got, err := s.Adopt(t.Context(), newJob(fmt.Sprint("j", i), "a", "b"))
			require.NoError(t, err)
			mu.Lock()
			if got.New {
				adopted++
			}
			mu.Unlock()
		}
		for chunk := range slices.Chunk(entries, 13) {
			if s == b {
				slices.Reverse(chunk[:len(chunk):len(chunk)])
			}
			recorded, err := s.Record(t.Context(), slices.Clone(chunk))
			require.NoError(t, err)
			mu.Lock()
			for _, r := range recorded {
				added += r.New
				if r.JustEnded {
					ended++
				}
			}
			mu.Unlock()
		}
	})
	require.Equal(t, []int{jobs, 4 * jobs, jobs}, []int{adopted, added, ended})
	l, err := a.Ledger(t.Context())
	require.NoError(t, err)
	require.Equal(t, store.Ledger{EndedJobs: jobs, Expected: 4 * jobs, Recorded: 4 * jobs}, l)
}

// TestOneKeyOneJob: of requests with one idempotency key at two gateways, one makes a job.
func TestOneKeyOneJob(t *testing.T) {
	t.Parallel()
	a, b := pair(t)
	for i := range 10 {
		var mu sync.Mutex
		var claims []store.Claim
		both(a, b, func(s *store.SQL) {
			claim, used, err := s.Reserve(t.Context(), event.TenantDefault, fmt.Sprint("key", i), time.Now().Add(time.Minute))
			if err != nil {
				require.ErrorIs(t, err, store.ErrKeyInFlight)
				return
			}
			require.Nil(t, used)
			mu.Lock()
			claims = append(claims, claim)
			mu.Unlock()
		})
		require.Len(t, claims, 1)
	}
}

func TestLeases(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		now := created
		s.SetNow(func() time.Time { return now })
		lease := func(owner string) bool {
			ok, err := s.Lease(t.Context(), "sweep", owner, now.Add(time.Minute))
			require.NoError(t, err)
			return ok
		}
		require.True(t, lease("a"))
		require.False(t, lease("b"))
		now = now.Add(59 * time.Second)
		require.True(t, lease("a"), "its owner keeps it for longer")
		now = now.Add(2 * time.Second)
		require.False(t, lease("b"))
		require.NoError(t, s.Unlease(t.Context(), "sweep", "b"))
		require.False(t, lease("b"), "which is not its to give back")
		require.NoError(t, s.Unlease(t.Context(), "sweep", "a"))
		require.True(t, lease("b"))
		now = now.Add(time.Minute)
		require.True(t, lease("a"), "it has lapsed")
	})
}

// TestAuditFindsLostRows: the ledger's sums are kept as jobs end, and an audit counts the stored rows of the jobs that were not audited for a while.
func TestAuditFindsLostRows(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		now := created
		s.SetNow(func() time.Time { return now })
		for _, id := range []string{"a", "b", "c"} {
			create(t, s, newJob(id, "q"))
			finish(t, s, id, 3, 1)
			now = now.Add(time.Minute)
		}
		create(t, s, newJob("open", "q"))
		ledger := func() store.Ledger {
			l, err := s.Ledger(t.Context())
			require.NoError(t, err)
			return l
		}
		audit := func(before time.Time, limit int) int {
			n, err := s.Audit(t.Context(), before, limit)
			require.NoError(t, err)
			return n
		}
		require.Equal(t, store.Ledger{EndedJobs: 3, OpenJobs: 1, Expected: 9, Recorded: 9}, ledger())
		require.NoError(t, s.Exec(t.Context(), `DELETE FROM outcomes WHERE job_id = 'b' AND window_idx = 1`))
		require.Zero(t, audit(created, 10), "all were counted when they ended")
		require.Equal(t, 1, audit(now, 1), "the oldest first")
		require.Zero(t, ledger().Unbalanced)
		require.Equal(t, 2, audit(now, 10))
		require.Equal(t, store.Ledger{EndedJobs: 3, OpenJobs: 1, Expected: 9, Recorded: 8, Unbalanced: 1}, ledger())
		require.Zero(t, audit(now, 10))
		require.NoError(t, s.Delete(t.Context(), "b"))
		require.Equal(t, store.Ledger{EndedJobs: 2, OpenJobs: 1, Expected: 6, Recorded: 6}, ledger())
	})
}

// TestJobsCreatedTogether: one bad job does not fail those that share its transaction.
func TestJobsCreatedTogether(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		create(t, s, newJob("taken", "q"))
		var wg sync.WaitGroup
		errs := make([]error, 40)
		for i := range errs {
			wg.Go(func() {
				id := fmt.Sprintf("j%02d", i)
				if i == 7 {
					id = "taken"
				}
				errs[i] = s.Create(t.Context(), newJob(id, "a", "b"), []event.Record{{Topic: "jobs", Key: id}}, store.CreateOptions{})
			})
		}
		wg.Wait()
		for i, err := range errs {
			if i == 7 {
				require.Error(t, err)
				continue
			}
			require.NoError(t, err)
			j, err := s.Get(t.Context(), fmt.Sprintf("j%02d", i))
			require.NoError(t, err)
			require.Equal(t, []string{"a", "b"}, j.Questions)
		}
		require.Len(t, sent(t, s), 40)
	})
}

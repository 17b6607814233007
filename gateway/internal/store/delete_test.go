package store_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
)

func TestDeleteTakesAllOfAnEndedJob(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx := t.Context()
		claim, _, err := s.Reserve(ctx, event.TenantDefault, "key", time.Now().Add(time.Hour))
		require.NoError(t, err)
		require.NoError(t, s.Create(ctx, newJob("j1", "q"), []event.Record{jobRecord("j1")}, store.CreateOptions{Claim: claim, KeepUntil: time.Now().Add(time.Hour)}))
		create(t, s, newJob("j2", "q"))
		require.ErrorIs(t, s.Delete(ctx, "j1"), store.ErrOpen)
		require.ErrorIs(t, s.Delete(ctx, "j3"), store.ErrNotFound)
		finish(t, s, "j1", 2, 1)
		finish(t, s, "j2", 2, 1)
		require.NoError(t, s.Delete(ctx, "j1"))

		_, err = s.Get(ctx, "j1")
		require.ErrorIs(t, err, store.ErrNotFound)
		outcomes, _, err := s.Outcomes(ctx, "j1", 0, 10)
		require.NoError(t, err)
		require.Empty(t, outcomes)
		_, used, err := s.Reserve(ctx, event.TenantDefault, "key", time.Now().Add(time.Hour))
		require.NoError(t, err)
		require.Nil(t, used, "the key is free")
		left, _, err := s.Outcomes(ctx, "j2", 0, 10)
		require.NoError(t, err)
		require.Len(t, left, 2)
		l, err := s.Ledger(ctx)
		require.NoError(t, err)
		require.Equal(t, store.Ledger{EndedJobs: 1, Expected: 2, Recorded: 2}, l, "the ledger still balances")
		recorded := record(t, s, all("j1", 2, 1, 1)...)
		require.True(t, recorded[0].Unknown, "an answer that comes again does not bring the job back")
	})
}

func TestOldJobsAreDeleted(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx, now := t.Context(), created
		s.SetNow(func() time.Time { return now })
		for _, id := range []string{"a", "b", "c", "open"} {
			create(t, s, newJob(id, "q"))
		}
		for _, id := range []string{"a", "b", "c"} {
			finish(t, s, id, 1, 1)
			now = now.Add(time.Hour)
		}
		n, err := s.DeleteEnded(ctx, event.TenantDefault, created, 10)
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = s.DeleteEnded(ctx, event.TenantDefault, created.Add(90*time.Minute), 1)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		_, err = s.Peek(ctx, "a")
		require.ErrorIs(t, err, store.ErrNotFound, "the oldest first")
		n, err = s.DeleteEnded(ctx, event.TenantDefault, created.Add(90*time.Minute), 10)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		for _, id := range []string{"c", "open"} {
			_, err = s.Peek(ctx, id)
			require.NoError(t, err, id)
		}
		n, err = s.DeleteEnded(ctx, event.TenantDefault, now.Add(1000*time.Hour), 10)
		require.NoError(t, err)
		require.Equal(t, 1, n, "an open job stays, however old it is")
	})
}

// TestTenantsHaveRetentionsOfTheirOwn, and jobs of one are not another's.
func TestTenantsHaveRetentionsOfTheirOwn(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		ctx := t.Context()
		s.SetNow(func() time.Time { return created })
		_, err := s.CreateTenant(ctx, store.Tenant{Name: "acme", Limits: client.TenantLimits{RetentionS: 3600}})
		require.NoError(t, err)
		for id, tenant := range map[string]string{"a": "acme", "b": event.TenantDefault, "c": "fed"} {
			job := newJob(id, "q")
			job.Tenant = tenant
			create(t, s, job)
			finish(t, s, id, 1, 1)
		}
		kept, err := s.Retentions(ctx)
		require.NoError(t, err)
		require.Equal(t, map[string]time.Duration{"acme": time.Hour, event.TenantDefault: 0, "fed": 0}, kept)
		n, err := s.DeleteEnded(ctx, "acme", created.Add(time.Hour), 10)
		require.NoError(t, err)
		require.Equal(t, 1, n)
		_, err = s.Peek(ctx, "a")
		require.ErrorIs(t, err, store.ErrNotFound)
	})
}

// TestAudioThatNobodyNamesAnyMoreIsForgotten: a tenant may name audio by its hash until it has not done so for long, and while a job with it is open.
func TestAudioThatNobodyNamesAnyMoreIsForgotten(t *testing.T) {
	t.Parallel()
	each(t, func(t *testing.T, s *store.SQL) {
		s.SetNow(func() time.Time { return created })
		job := newJob("j1", "q")
		create(t, s, job)
		owns := func() bool {
			t.Helper()
			yes, err := s.OwnsAudio(t.Context(), event.TenantDefault, job.Audio.SHA256)
			require.NoError(t, err)
			return yes
		}
		require.NoError(t, s.ForgetAudio(t.Context(), event.TenantDefault, created.Add(time.Hour)))
		require.True(t, owns(), "a job with it is open")
		finish(t, s, "j1", 1, 1)
		require.NoError(t, s.ForgetAudio(t.Context(), event.TenantDefault, created))
		require.True(t, owns(), "not older than that")
		require.NoError(t, s.ForgetAudio(t.Context(), event.TenantDefault, created.Add(time.Millisecond)))
		require.False(t, owns())
	})
}

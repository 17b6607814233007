package housekeeping_test

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/gateway/internal/housekeeping"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// chores counts what is done; err makes each of them go wrong.
type chores struct {
	mu   sync.Mutex
	done tally
	err  error
	old  int         // jobs to be deleted
	due  []time.Time // before which they must have ended

	deliveries   int // to be forgotten
	forgetBefore time.Time
	backlog      telemetry.WebhookBacklog // of webhooks, as it was told
}

// told is the backlog of webhooks that was told last.
func (c *chores) told() telemetry.WebhookBacklog {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.backlog
}

type tally struct{ forgotten, depths, swept, audited, pending, retired, batches, expired, unowned, webhooks, deliveries int }

// do counts a chore and returns its error.
func (c *chores) do(count func(*tally)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	count(&c.done)
	return c.err
}

func (c *chores) so() tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.done
}

func (c *chores) ForgetKeys(context.Context) (int, error) {
	return 0, c.do(func(d *tally) { d.forgotten++ })
}

func (c *chores) OutboxDepth(context.Context) (int, time.Time, error) {
	return 7, time.Time{}, c.do(func(d *tally) { d.depths++ })
}

func (c *chores) Retentions(context.Context) (map[string]time.Duration, error) {
	return map[string]time.Duration{"default": 0}, nil
}

func (c *chores) DeleteEnded(_ context.Context, _ string, before time.Time, limit int) (int, error) {
	err := c.do(func(d *tally) { d.retired++ })
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(limit, c.old)
	c.old -= n
	c.due = append(c.due, before)
	return n, err
}

func (c *chores) DeleteBatches(context.Context, string, time.Time, int) (int, error) {
	return 0, c.do(func(d *tally) { d.batches++ })
}

func (c *chores) ForgetAudio(_ context.Context, _ string, before time.Time) error {
	err := c.do(func(d *tally) { d.unowned++ })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.due = append(c.due, before)
	return err
}

func (c *chores) WebhookBacklog(context.Context) (store.WebhookBacklog, error) {
	b := store.WebhookBacklog{Pending: 3, Oldest: time.Now().Add(-time.Hour), Failing: 2, Disabled: 1}
	return b, c.do(func(d *tally) { d.webhooks++ })
}

func (c *chores) ForgetDeliveries(_ context.Context, before time.Time, limit int) (int, error) {
	err := c.do(func(d *tally) { d.deliveries++ })
	c.mu.Lock()
	defer c.mu.Unlock()
	n := min(limit, c.deliveries)
	c.deliveries -= n
	c.forgetBefore = before
	return n, err
}

func newKeeper(t *testing.T, c *chores) *housekeeping.Keeper {
	t.Helper()
	k, err := housekeeping.New(housekeeping.Config{Interval: time.Minute, Retention: 24 * time.Hour}, housekeeping.Deps{
		Store: c, Log: slog.New(slog.DiscardHandler),
		Sweep: func(context.Context) (blob.Swept, error) {
			return blob.Swept{Removed: 1}, c.do(func(d *tally) { d.swept++ })
		},
		ExpireFiles:   func(context.Context) error { return c.do(func(d *tally) { d.expired++ }) },
		Audit:         func(context.Context) error { return c.do(func(d *tally) { d.audited++ }) },
		OutboxPending: func(_ context.Context, n int) { _ = c.do(func(d *tally) { d.pending = n }) },
		Webhooks: func(_ context.Context, b telemetry.WebhookBacklog) {
			_ = c.do(func(*tally) { c.backlog = b })
		},
	})
	require.NoError(t, err)
	return k
}

func TestRunsAtOnceAndThenAtIntervals(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &chores{}
		k := newKeeper(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		synctest.Wait()
		require.Equal(t, telemetry.WebhookBacklog{Pending: 3, Oldest: time.Hour, Failing: 2, Disabled: 1}, c.told(), "nothing is due")
		require.Equal(t, tally{forgotten: 1, depths: 1, swept: 1, audited: 1, pending: 7, retired: 1, batches: 1, expired: 1, unowned: 1, webhooks: 1, deliveries: 1}, c.so())
		<-time.After(3*time.Minute + time.Second) // the bubble's time: a round each minute
		synctest.Wait()
		require.Equal(t, 4, c.so().swept)
		cancel()
		require.NoError(t, <-done)
	})
}

func TestWakeBringsARoundForwardButNotEveryTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &chores{}
		k := newKeeper(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- k.Run(ctx) }()
		synctest.Wait()
		for range 100 {
			k.Wake()
		}
		synctest.Wait()
		require.Equal(t, 1, c.so().swept, "not at once")
		<-time.After(11 * time.Second) // the bubble's time
		synctest.Wait()
		require.Equal(t, 2, c.so().swept, "once for all of them")
		<-time.After(30 * time.Second)
		synctest.Wait()
		require.Equal(t, 2, c.so().swept)
		cancel()
		require.NoError(t, <-done)
	})
}

func TestOneChoreDoesNotStopTheOthers(t *testing.T) {
	t.Parallel()
	c := &chores{err: errors.New("broken")}
	require.ErrorContains(t, newKeeper(t, c).Once(t.Context()), "broken")
	require.Equal(t, 1, c.so().swept)
	require.Equal(t, 1, c.so().audited)
	require.Zero(t, c.so().pending, "an unknown depth is not reported")
}

func TestOldJobsAreDeletedInBatches(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &chores{old: 120}
		require.NoError(t, newKeeper(t, c).Once(t.Context()))
		require.Zero(t, c.old)
		require.Equal(t, 3, c.so().retired)
		require.Equal(t, 1, c.so().unowned)
		for _, due := range c.due {
			require.Equal(t, time.Now().Add(-24*time.Hour), due)
		}
	})
}

func TestNewRefusesMissingDeps(t *testing.T) {
	t.Parallel()
	_, err := housekeeping.New(housekeeping.Config{Interval: time.Minute}, housekeeping.Deps{})
	require.Error(t, err)
}

func TestOldDeliveriesAreForgotten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := &chores{deliveries: 1001}
		require.NoError(t, newKeeper(t, c).Once(t.Context()))
		require.Zero(t, c.deliveries)
		require.Equal(t, 3, c.so().deliveries, "in batches")
		require.Equal(t, time.Now().Add(-30*24*time.Hour), c.forgetBefore)
	})
}

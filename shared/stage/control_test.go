package stage_test

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
)

// control runs a Control and waits until it has caught up.
func (c *cluster) control() *stage.Control {
	c.t.Helper()
	control, err := stage.NewControl(c.config, stage.Deps{Log: c.log})
	require.NoError(c.t, err)
	require.Error(c.t, control.Ready(), "ready before it knows anything")
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- control.Run(ctx) }()
	c.t.Cleanup(func() {
		cancel()
		require.NoError(c.t, <-ended)
	})
	require.Eventually(c.t, func() bool { return control.Ready() == nil }, patience, tick)
	return control
}

func (c *cluster) cancelJob(job string) {
	c.publish(&eventpb.Control{JobId: job, Kind: "cancel", AtUnixMs: time.Now().UnixMilli()})
}

func withControl(control *stage.Control) func(*stage.Config, *stage.Deps) {
	return func(_ *stage.Config, d *stage.Deps) { d.Control = control }
}

func requireCancelled(t *testing.T, outcomes map[string][]*eventpb.Outcome, code string) {
	t.Helper()
	for _, os := range outcomes {
		require.Len(t, os, 1)
		require.Equal(t, eventpb.State_STATE_CANCELLED, os[0].GetState())
		require.Equal(t, code, os[0].GetError().GetCode())
	}
}

func TestWorkOfACancelledJobIsNeverBegun(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	for i := range 50 {
		c.cancelJob(fmt.Sprint("other", i))
	}
	c.cancelJob("job")
	control := c.control()
	require.True(t, control.Cancelled("job"), "known as soon as it is ready")
	require.False(t, control.Cancelled("another"))
	var begun atomic.Int32
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		begun.Add(1)
		return answer(rec)
	}, withControl(control))
	for i := range 5 {
		c.publish(window("job", fmt.Sprint("key", i), uint32(i), 2))
	}
	requireCancelled(t, c.waitOutcomes(10), event.CodeCancelled)
	require.Zero(t, begun.Load())
	require.Empty(t, c.deadSeen(), "a cancel is no fault")
	c.waitLag("lark.test", 0)
}

func TestCancelStopsRunningAndQueuedWork(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	control := c.control()
	begun := make(chan struct{}, 10)
	c.start(func(ctx context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		if taskOf(rec).GetJobId() != "job" {
			return answer(rec)
		}
		begun <- struct{}{}
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), stage.ErrCancelled) {
			return nil, stage.Permanent(event.CodeInternal, context.Cause(ctx))
		}
		return nil, fmt.Errorf("stopping work: %w", ctx.Err())
	}, withControl(control), func(cfg *stage.Config, _ *stage.Deps) { cfg.Concurrency = 1 })
	for i := range 4 {
		c.publish(window("job", fmt.Sprint("key", i), uint32(i), 1))
	}
	<-begun
	c.cancelJob("job")
	requireCancelled(t, c.waitOutcomes(4), event.CodeCancelled)
	require.Empty(t, begun, "queued work was begun after the cancel")

	c.publish(window("after", "key", 0, 1))
	c.waitOutcomes(5)
}

func TestCancelEndsAWaitForRetry(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	control := c.control()
	failed := make(chan struct{}, 1)
	c.start(func(context.Context, event.Record, proto.Message) ([]event.Record, error) {
		failed <- struct{}{}
		return nil, errors.New("engine away")
	}, withControl(control), func(cfg *stage.Config, _ *stage.Deps) {
		cfg.Attempts, cfg.RetryDelays = 1, []time.Duration{time.Hour}
	})
	c.publish(window("job", "key", 0, 1))
	<-failed
	c.cancelJob("job")
	requireCancelled(t, c.waitOutcomes(1), event.CodeCancelled)
}

func TestExpiredWorkIsNotBegun(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	var begun atomic.Int32
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		begun.Add(1)
		return answer(rec)
	})
	msg := window("job", "key", 0, 2)
	msg.Task.DeadlineUnixMs = time.Now().Add(-time.Second).UnixMilli()
	c.publish(msg)
	requireCancelled(t, c.waitOutcomes(2), event.CodeExpired)
	require.Zero(t, begun.Load())
}

// TestLateRecordsAreHandledWhereTheyAreWrittenDown: such a stage does no work that a deadline could save.
func TestLateRecordsAreHandledWhereTheyAreWrittenDown(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	handled := make(chan struct{}, 1)
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		handled <- struct{}{}
		return answer(rec)
	}, func(cfg *stage.Config, _ *stage.Deps) { cfg.IgnoreDeadlines = true })
	msg := window("job", "key", 0, 1)
	msg.Task.DeadlineUnixMs = time.Now().Add(-time.Second).UnixMilli()
	c.publish(msg)
	<-handled
	for _, outcomes := range c.waitOutcomes(1) {
		require.Equal(t, eventpb.State_STATE_ANSWERED, outcomes[0].GetState())
	}
}

func TestDeadlineStopsRunningWork(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.start(func(ctx context.Context, _ event.Record, _ proto.Message) ([]event.Record, error) {
		<-ctx.Done()
		if !errors.Is(context.Cause(ctx), stage.ErrExpired) {
			return nil, stage.Permanent(event.CodeInternal, context.Cause(ctx))
		}
		return nil, ctx.Err()
	})
	msg := window("job", "key", 0, 1)
	msg.Task.DeadlineUnixMs = time.Now().Add(500 * time.Millisecond).UnixMilli()
	c.publish(msg)
	requireCancelled(t, c.waitOutcomes(1), event.CodeExpired)
}

// Work that is finished when the cancel arrives counts: its answer is written.
func TestAnswerThatWasReadyBeforeTheCancelIsKept(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	control := c.control()
	begun := make(chan struct{})
	c.start(func(ctx context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		close(begun)
		<-ctx.Done()
		return answer(rec)
	}, withControl(control))
	c.publish(window("job", "key", 0, 1))
	<-begun
	c.cancelJob("job")
	for _, os := range c.waitOutcomes(1) {
		require.Equal(t, eventpb.State_STATE_ANSWERED, os[0].GetState())
	}
}

func TestControlForgetsTombstonesAndSkipsNonsense(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.cancelJob("gone")
	require.NoError(t, c.out.Publish(t.Context(),
		event.Record{Topic: event.TopicControl, Key: "gone"},
		event.Record{Topic: event.TopicControl, Key: "odd", Value: []byte("nonsense")}))
	c.cancelJob("kept")
	control := c.control()
	require.False(t, control.Cancelled("gone"))
	require.False(t, control.Cancelled("odd"))
	require.True(t, control.Cancelled("kept"))
}

// TestControlKnowsWhoIsWatched: a word that somebody streams a job cancels nothing, ends, and can be taken back; a cancel of the same job stands beside it.
func TestControlKnowsWhoIsWatched(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	control := c.control()
	say := func(job string, at time.Time) {
		rec, err := event.Watched("gateway", job, at)
		require.NoError(t, err)
		require.NoError(t, c.out.Publish(t.Context(), rec))
	}
	say("old", time.Now().Add(-event.WatchLease))
	say("seen", time.Now())
	say("both", time.Now())
	c.cancelJob("both")
	require.Eventually(t, func() bool { return control.Cancelled("both") }, patience, tick)
	require.True(t, control.Watched("seen"))
	require.True(t, control.Watched("both"))
	require.False(t, control.Watched("old"))
	require.False(t, control.Watched("other"))
	require.False(t, control.Cancelled("seen"))
	require.NoError(t, c.out.Publish(t.Context(), event.Unwatched("both")))
	require.Eventually(t, func() bool { return !control.Watched("both") }, patience, tick)
	require.True(t, control.Cancelled("both"))

	again := c.control() // a stage that starts later reads the same
	require.True(t, again.Watched("seen"))
	require.False(t, again.Watched("both"))
	require.True(t, again.Cancelled("both"))
}

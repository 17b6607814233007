package stage_test

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/stage"
)

// jobFor is a job of two questions that was made some time ago.
func jobFor(id string, age time.Duration, o event.Options) *eventpb.Job {
	return event.NewJob(event.JobSpec{ID: id, Audio: event.AudioFile{SHA256: strings.Repeat("ab", 32), Bytes: 7}, Questions: []string{"a", "b"}, Plan: event.PlanAll, Created: time.Now().Add(-age), Options: o})
}

// onJobs makes a stage read the jobs.
func onJobs(c *cluster) func(*stage.Config, *stage.Deps) {
	require.NoError(c.t, kafka.Provision(c.t.Context(), c.config, []event.TopicSpec{{Name: event.TopicJobs, Partitions: 1, Retention: time.Hour}}))
	return func(cfg *stage.Config, _ *stage.Deps) { cfg.Topics, cfg.Concurrency = []string{event.TopicJobs}, 1 }
}

func TestAJobThatIsTooLateToBeginExpires(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	var begun atomic.Int32
	c.start(func(context.Context, event.Record, proto.Message) ([]event.Record, error) {
		begun.Add(1)
		return nil, nil
	}, onJobs(c))
	c.publish(jobFor("late", time.Minute, event.Options{StartWithinS: 30}))
	requireCancelled(t, c.waitOutcomes(2), event.CodeExpired)
	require.Zero(t, begun.Load())
}

// TestAJobExpiresWhileItWaitsForAHandler: the place that it waits for is taken by a job that goes on for longer, which began in time.
func TestAJobExpiresWhileItWaitsForAHandler(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	begun, release := make(chan string, 2), make(chan struct{})
	c.start(func(_ context.Context, rec event.Record, msg proto.Message) ([]event.Record, error) {
		begun <- msg.(*eventpb.Job).GetJobId()
		<-release
		return nil, nil
	}, onJobs(c))
	c.publish(jobFor("first", 0, event.Options{StartWithinS: 60}))
	require.Equal(t, "first", <-begun)
	c.publish(jobFor("second", 0, event.Options{StartWithinS: 0.2}))
	requireCancelled(t, c.waitOutcomes(2), event.CodeExpired)
	for _, outcomes := range c.outcomesSeen() {
		require.Equal(t, "second", outcomes[0].GetJobId())
	}
	close(release)
	c.waitLag("lark.test", 0)
	require.Empty(t, begun)
}

func TestNoRetryFailsAtTheFirstAttempt(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	var attempts atomic.Int32
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		if taskOf(rec).GetNoRetry() {
			attempts.Add(1)
		}
		return nil, errors.New("engine away")
	})
	msg := window("job", "key", 0, 2)
	msg.Task.NoRetry = true
	c.publish(msg)
	for _, outcomes := range c.waitOutcomes(2) {
		require.Equal(t, eventpb.State_STATE_FAILED, outcomes[0].GetState())
	}
	require.EqualValues(t, 1, attempts.Load())
}

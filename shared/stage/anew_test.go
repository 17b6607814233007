package stage_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

// TestABrokerThatLostItsLog: the records in it are lost, but stages and producers go on with the new log; nobody needs to start them again.
func TestABrokerThatLostItsLog(t *testing.T) {
	t.Parallel()
	first, err := kafka.StartBroker(kafka.BrokerConfig{Log: testLog()})
	require.NoError(t, err)
	c := attach(t, first.Addr(), 1)
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) { return answer(rec) })
	for i := range uint32(5) {
		c.publish(window("before", "key", i, 1))
	}
	c.waitOutcomes(5)

	require.NoError(t, first.Close())
	second, err := kafka.StartBroker(kafka.BrokerConfig{Log: testLog(), Addr: first.Addr()})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, second.Close()) })
	var specs []event.TopicSpec
	for _, name := range []string{event.TopicWindows, event.TopicAnswers, event.TopicDead} {
		specs = append(specs, event.TopicSpec{Name: name, Partitions: 1, Retention: time.Hour})
	}
	for _, delay := range testDelays {
		specs = append(specs, event.TopicSpec{Name: event.RetryTopic("test", delay), Partitions: 1, Retention: time.Hour})
	}
	require.NoError(t, kafka.Provision(t.Context(), c.config, specs))
	rec, err := event.Encode("test", window("after", "key", 0, 1))
	require.NoError(t, err)
	require.Eventually(t, func() bool { return c.out.Publish(t.Context(), rec) == nil }, 2*patience, tick, "the producer goes on")
	require.Eventually(t, func() bool {
		_, ok := c.outcomesSeen()[event.OutcomeID("after", 0, 0)]
		return ok
	}, 2*patience, tick, "the stage goes on")
}

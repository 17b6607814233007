package stage_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

// TestPartitionsGrow: a topic grows while its stage works. Every record before and after is handled once, by a stage that was not started again.
// What growth costs is the order within a key: a record may be handled beside an earlier one of its key on its old partition.
func TestPartitionsGrow(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	var mu sync.Mutex
	handled := make(map[string]int)
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		mu.Lock()
		handled[taskOf(rec).GetJobId()]++
		mu.Unlock()
		return answer(rec)
	})
	const keys = 40
	publish := func(when string) {
		for i := range keys {
			c.publish(window(fmt.Sprint(when, "-", i), fmt.Sprint("key", i), 0, 1))
		}
	}
	publish("before")
	before := c.partitionsByKey()
	grown := event.WithPartitions([]event.TopicSpec{
		{Name: event.TopicWindows, Partitions: 2, Retention: time.Hour, Trimmed: true},
		{Name: event.TopicAnswers, Partitions: 2, Retention: time.Hour},
	}, 7)
	for range 2 { // the second time there is nothing to do
		require.NoError(t, kafka.Provision(t.Context(), c.config, grown))
	}
	c.out = c.producer() // knows of the new partitions at once
	publish("after")
	after, moved := c.partitionsByKey(), 0
	for key, partition := range after {
		require.Less(t, partition, int32(7))
		if before[key] != partition {
			moved++
		}
	}
	require.Positive(t, moved, "some keys have moved")
	require.Eventually(t, func() bool { return len(c.outcomesSeen()) == 2*keys }, 2*patience, tick, "new partitions are found within 15 s")
	c.waitLag("lark.test", 0)
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, handled, 2*keys)
	for job, times := range handled {
		require.Equal(t, 1, times, job)
	}
	none, err := kafka.Unread(t.Context(), c.config, "lark.test", event.TopicWindows)
	require.NoError(t, err)
	require.Zero(t, none)
}

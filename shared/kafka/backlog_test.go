package kafka_test

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// left picks the partitions with records, by topic and partition.
func left(b telemetry.Backlog) map[string]telemetry.PartitionBacklog {
	out := make(map[string]telemetry.PartitionBacklog)
	for _, p := range b.Partitions {
		if p.Records > 0 {
			out[p.Topic+"/"+strconv.Itoa(int(p.Partition))] = p
		}
	}
	return out
}

// TestBacklogOfAStageThatIsDown: a stage that never ran, one that is stopped and one that is idle are told apart by what the broker knows.
func TestBacklogOfAStageThatIsDown(t *testing.T) {
	t.Parallel()
	cfg := kafka.Config{Brokers: []string{startBroker(t, kafka.BrokerConfig{}).Addr()}}
	require.NoError(t, kafka.Provision(t.Context(), cfg, event.Topics()))
	client, err := kafka.NewClient(cfg, nil, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	hour := time.Now().Add(-time.Hour).Truncate(time.Millisecond)
	write := func(topic string, partition int32, at time.Time, headers ...kgo.RecordHeader) {
		require.NoError(t, client.ProduceSync(t.Context(),
			&kgo.Record{Topic: topic, Partition: partition, Value: []byte("x"), Timestamp: at, Headers: headers}).FirstErr())
	}
	for i := range 3 {
		write(event.TopicWindows, 2, hour.Add(time.Duration(i)*time.Minute))
	}
	write(event.TopicWindows, 5, hour.Add(10*time.Minute))
	due := time.Now().Add(10 * time.Minute).Truncate(time.Millisecond)
	retry := event.RetryTopic(event.StageEncoder, 10*time.Minute)
	write(retry, 1, hour, kgo.RecordHeader{Key: event.HeaderNotBefore, Value: strconv.AppendInt(nil, due.UnixMilli(), 10)})

	backlogs, err := kafka.NewBacklogs(cfg)
	require.NoError(t, err)
	t.Cleanup(backlogs.Close)
	read := func() telemetry.Backlog {
		b, err := backlogs.Read(t.Context(), event.StageEncoder, event.ReadBy(event.StageEncoder)...)
		require.NoError(t, err)
		require.Len(t, b.Partitions, 2*4*8, "idle partitions and lanes too")
		return b
	}
	b := read()
	require.Zero(t, b.Members)
	for range 2 { // the second reading knows the first records
		got := left(read())
		require.Len(t, got, 3)
		require.EqualValues(t, 3, got[event.TopicWindows+"/2"].Records)
		require.WithinDuration(t, hour, got[event.TopicWindows+"/2"].Since, 0, "the oldest record")
		require.WithinDuration(t, hour.Add(10*time.Minute), got[event.TopicWindows+"/5"].Since, 0)
		require.Equal(t, event.LaneInteractive, got[event.TopicWindows+"/5"].Lane)
		require.False(t, got[event.TopicWindows+"/5"].Retry)
		require.True(t, got[retry+"/1"].Retry)
		require.WithinDuration(t, due, got[retry+"/1"].Since, 0, "not before the record is due")
	}

	admin, commits := kadm.NewClient(client), make(kadm.Offsets)
	commits.AddOffset(event.TopicWindows, 2, 2, -1)
	commits.AddOffset(event.TopicWindows, 5, 1, -1)
	require.NoError(t, admin.CommitAllOffsets(t.Context(), event.Group(event.StageEncoder), commits))
	got := left(read())
	require.Len(t, got, 2, "partition 5 is idle")
	require.EqualValues(t, 1, got[event.TopicWindows+"/2"].Records)
	require.WithinDuration(t, hour.Add(2*time.Minute), got[event.TopicWindows+"/2"].Since, 0)

	member, err := kafka.NewClient(cfg, nil, kgo.ConsumerGroup(event.Group(event.StageEncoder)), kgo.ConsumeTopics(event.TopicWindows))
	require.NoError(t, err)
	defer member.Close()
	member.PollFetches(t.Context())
	require.Equal(t, 1, read().Members)

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = backlogs.Read(ctx, event.StageEncoder, event.TopicWindows)
	require.Error(t, err)
}

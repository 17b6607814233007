package kafka_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

func TestTrimDeletesOnlyWhatEveryGroupHasCommitted(t *testing.T) {
	t.Parallel()
	b := startBroker(t, kafka.BrokerConfig{})
	cfg := kafka.Config{Brokers: []string{b.Addr()}}
	const topic = event.TopicWindows
	require.NoError(t, kafka.Provision(t.Context(), cfg, []event.TopicSpec{{Name: topic, Partitions: 2, Trimmed: true, Retention: time.Hour}}))
	client, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	adm := kadm.NewClient(client)
	// Ten old records on each partition, then ten new ones.
	for i := range 20 {
		at := time.Now().Add(-2 * time.Hour)
		if i >= 10 {
			at = time.Now()
		}
		for p := range int32(2) {
			rec := &kgo.Record{Topic: topic, Partition: p, Value: fmt.Append(nil, i), Timestamp: at}
			require.NoError(t, client.ProduceSync(t.Context(), rec).FirstErr())
		}
	}
	commit := func(group string, at ...int64) {
		t.Helper()
		offsets := make(kadm.Offsets)
		for p, o := range at {
			if o >= 0 {
				offsets.AddOffset(topic, int32(p), o, -1)
			}
		}
		require.NoError(t, adm.CommitAllOffsets(t.Context(), group, offsets))
	}
	var records int64
	trim := func() (int64, []int64) {
		t.Helper()
		n, err := kafka.Trim(t.Context(), client, "lark.encoder", map[string]time.Duration{topic: time.Hour}, records)
		require.NoError(t, err)
		starts, err := adm.ListStartOffsets(t.Context(), topic)
		require.NoError(t, err)
		return n, []int64{starts[topic][0].Offset, starts[topic][1].Offset}
	}

	commit("another", 15, 15)
	n, starts := trim()
	require.Zero(t, n, "the stage's own group has committed nothing")
	require.Equal(t, []int64{0, 0}, starts)

	commit("lark.encoder", 4, 15)
	n, starts = trim()
	require.EqualValues(t, 4+10, n)
	require.Equal(t, []int64{4, 10}, starts, "to the commit, and not what is younger than the retention")

	commit("slow", 0, -1)
	commit("lark.encoder", 9, 20)
	n, starts = trim()
	require.Zero(t, n)
	require.Equal(t, []int64{4, 10}, starts, "a group that reads the topic is behind")
	n, _ = trim()
	require.Zero(t, n, "again changes nothing")

	records = 3
	commit("slow", 18, 20)
	commit("lark.encoder", 18, 12)
	n, starts = trim()
	require.EqualValues(t, 12-4, n)
	require.Equal(t, []int64{12, 10}, starts, "young records go as well, all but the newest three below the commits; old ones in any case")
}

func TestTopicsThatAreTrimmedKeepWhatNobodyHasCommitted(t *testing.T) {
	t.Parallel()
	keep := kafka.Trimmed([]string{event.TopicWindows, event.TopicEvents, event.RetryTopic(event.StageEncoder, time.Minute), "other"})
	require.Equal(t, map[string]time.Duration{
		event.TopicWindows: 7 * 24 * time.Hour, event.RetryTopic(event.StageEncoder, time.Minute): 7 * 24 * time.Hour,
	}, keep)
}

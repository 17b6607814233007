package kafka_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

func admin(t *testing.T, cfg kafka.Config) *kadm.Client {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(cfg.Brokers...))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	return kadm.NewClient(client)
}

func TestProvisionMakesEveryTopicAsSpecified(t *testing.T) {
	t.Parallel()
	b := startBroker(t, kafka.BrokerConfig{})
	cfg := kafka.Config{Brokers: []string{b.Addr()}}
	require.NoError(t, kafka.Provision(t.Context(), cfg, event.Topics()))
	require.NoError(t, kafka.Provision(t.Context(), cfg, event.Topics()), "a second time changes nothing")

	adm := admin(t, cfg)
	topics, err := adm.ListTopics(t.Context())
	require.NoError(t, err)
	for _, want := range event.Topics() {
		require.Len(t, topics[want.Name].Partitions, int(want.Partitions), want.Name)
		got := settings(t, adm, want.Name)
		if want.Compacted {
			require.Equal(t, "compact", got["cleanup.policy"])
			require.Equal(t, "-1", got["retention.ms"], "compaction alone decides what goes")
			continue
		}
		require.Equal(t, "delete", got["cleanup.policy"])
		if want.Trimmed {
			require.Equal(t, "-1", got["retention.ms"], "only what is committed is deleted")
			continue
		}
		retention, err := time.ParseDuration(got["retention.ms"] + "ms")
		require.NoError(t, err)
		require.Equal(t, want.Retention, retention, want.Name)
	}
}

func settings(t *testing.T, adm *kadm.Client, name string) map[string]string {
	t.Helper()
	configs, err := adm.DescribeTopicConfigs(t.Context(), name)
	require.NoError(t, err)
	out := make(map[string]string)
	for _, c := range configs[0].Configs {
		out[c.Key] = c.MaybeValue()
	}
	return out
}

// TestTopicIDsAreOfOneBroker: the id stays while the topic does, and another broker's topic of the same name has another one.
func TestTopicIDsAreOfOneBroker(t *testing.T) {
	t.Parallel()
	ids := map[string]bool{}
	for range 2 {
		cfg := kafka.Config{Brokers: []string{startBroker(t, kafka.BrokerConfig{}).Addr()}}
		_, err := kafka.TopicID(t.Context(), cfg, event.TopicJobs)
		require.ErrorContains(t, err, event.TopicJobs, "it is not there yet")
		require.NoError(t, kafka.Provision(t.Context(), cfg, event.Topics()))
		for range 2 {
			id, err := kafka.TopicID(t.Context(), cfg, event.TopicJobs)
			require.NoError(t, err)
			ids[id] = true
		}
	}
	require.Len(t, ids, 2)
}

func TestProvisionLeavesExistingTopicsAlone(t *testing.T) {
	t.Parallel()
	cfg, _ := setup(t) // has the topic with 4 partitions
	require.NoError(t, kafka.Provision(t.Context(), cfg, []event.TopicSpec{{Name: topic, Partitions: 9, Retention: time.Minute}}))
	adm := admin(t, cfg)
	topics, err := adm.ListTopics(t.Context(), topic)
	require.NoError(t, err)
	require.Len(t, topics[topic].Partitions, 4)
	require.Equal(t, "3600000", settings(t, adm, topic)["retention.ms"])
}

func TestProvisionReportsWhatItCannotMake(t *testing.T) {
	t.Parallel()
	cfg, _ := setup(t)
	require.ErrorContains(t, kafka.Provision(t.Context(), cfg, []event.TopicSpec{{Name: "lark_test.v1", Partitions: 1, Retention: time.Hour}}),
		"creating topic lark_test.v1", "the name collides with lark.test.v1 in Kafka's metric names")
	require.ErrorIs(t, kafka.Provision(t.Context(), kafka.Config{}, nil), kafka.ErrNoBrokers)
	away := kafka.Config{Brokers: []string{"127.0.0.1:1"}}
	require.ErrorContains(t, kafka.Provision(t.Context(), away, event.Topics()), "reaching Kafka at 127.0.0.1:1")
}

func TestLagCountsWhatIsNotCommitted(t *testing.T) {
	t.Parallel()
	cfg, p := setup(t)
	none, err := kafka.Lag(t.Context(), cfg, "nobody")
	require.NoError(t, err)
	require.Empty(t, none)

	require.NoError(t, p.Publish(t.Context(), records(30)...))
	adm := admin(t, cfg)
	ends, err := adm.ListEndOffsets(t.Context(), topic)
	require.NoError(t, err)
	commit, expect := make(kadm.Offsets), int64(0)
	ends.Each(func(o kadm.ListedOffset) {
		back := min(o.Offset, 2)
		expect += back
		commit.AddOffset(topic, o.Partition, o.Offset-back, -1)
	})
	require.NoError(t, adm.CommitAllOffsets(t.Context(), "group", commit))
	lag, err := kafka.Lag(t.Context(), cfg, "group")
	require.NoError(t, err)
	require.Equal(t, map[string]int64{topic: expect}, lag)
}

// TestUnreadCountsPartitionsThatAGroupHasNeverTouched: a group that is down has no members, and no commit where it has read nothing yet.
func TestUnreadCountsPartitionsThatAGroupHasNeverTouched(t *testing.T) {
	t.Parallel()
	cfg, p := setup(t)
	unread := func(group string) int64 {
		n, err := kafka.Unread(t.Context(), cfg, group, topic)
		require.NoError(t, err)
		return n
	}
	require.Zero(t, unread("nobody"))
	require.NoError(t, p.Publish(t.Context(), records(30)...))
	require.EqualValues(t, 30, unread("nobody"))

	adm := admin(t, cfg)
	ends, err := adm.ListEndOffsets(t.Context(), topic)
	require.NoError(t, err)
	end, ok := ends.Lookup(topic, 0)
	require.True(t, ok)
	commit := make(kadm.Offsets)
	commit.AddOffset(topic, 0, end.Offset, -1)
	require.NoError(t, adm.CommitAllOffsets(t.Context(), "group", commit))
	require.Equal(t, 30-end.Offset, unread("group"))
	_, err = kafka.Unread(t.Context(), cfg, "group", "no.such.topic")
	require.Error(t, err)
}

package kafka_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

// A machine that loses its power loses records that were acknowledged and not yet on its disk, while the offsets of groups that had read these records may be on
// the disk. The records that come afterwards take the lost records' places and must be read.
func TestRecordsAfterAPowerCutAreRead(t *testing.T) {
	t.Parallel()
	const group = "lark.test"
	dir := t.TempDir()
	b := startBroker(t, kafka.BrokerConfig{Dir: dir})
	addr := b.Addr()
	cfg := kafka.Config{Brokers: []string{addr}}
	require.NoError(t, kafka.Provision(t.Context(), cfg, []event.TopicSpec{{Name: topic, Partitions: 1, Retention: time.Hour}}))
	p := newProducer(t, cfg)
	publish := func(value string) {
		require.NoError(t, p.Publish(t.Context(), event.Record{Topic: topic, Value: []byte(value)}))
	}
	publish("kept")
	segment := segmentOf(t, dir)
	whole, err := os.Stat(segment)
	require.NoError(t, err)
	for i := range 3 {
		publish(fmt.Sprint("lost ", i))
	}
	commit := make(kadm.Offsets)
	commit.AddOffset(topic, 0, 4, -1)
	require.NoError(t, admin(t, cfg).CommitAllOffsets(t.Context(), group, commit))
	require.NoError(t, b.Close())
	require.NoError(t, os.Truncate(segment, whole.Size()))

	startBroker(t, kafka.BrokerConfig{Dir: dir, Addr: addr})
	left, err := kafka.Unread(t.Context(), cfg, group, topic)
	require.NoError(t, err)
	require.Zero(t, left)
	for i := range 3 {
		publish(fmt.Sprint("new ", i))
	}
	left, err = kafka.Unread(t.Context(), cfg, group, topic)
	require.NoError(t, err)
	require.EqualValues(t, 3, left)
	member, err := kafka.NewClient(cfg, nil, kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic))
	require.NoError(t, err)
	defer member.Close()
	var got []string
	for len(got) < 3 {
		fetched := member.PollFetches(t.Context())
		require.NoError(t, fetched.Err())
		for _, rec := range fetched.Records() {
			got = append(got, string(rec.Value))
		}
	}
	require.Equal(t, []string{"new 0", "new 1", "new 2"}, got)
}

// segmentOf is the only file that holds records in the folder of a broker.
func segmentOf(t *testing.T, dir string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "log", "*", "*", "*.dat"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	return files[0]
}

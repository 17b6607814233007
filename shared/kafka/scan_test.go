package kafka_test

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

// TestScan: a scan begins at its place, ends at the end or when it is told to, and what is deleted is passed over.
func TestScan(t *testing.T) {
	t.Parallel()
	log := slog.New(slog.DiscardHandler)
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Log: log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	cfg := kafka.Config{Brokers: []string{broker.Addr()}}
	const topic = "lark.scan.v1"
	scan := func(from kafka.Place, since time.Time, limit int) (keys []string, err error) {
		err = kafka.Scan(t.Context(), cfg, topic, from, since, func(rec event.Record, at kafka.Place) bool {
			require.EqualValues(t, 0, at.Partition)
			keys = append(keys, rec.Key)
			return len(keys) < limit
		})
		return keys, err
	}
	keys, err := scan(kafka.Place{}, time.Time{}, 10)
	require.NoError(t, err, "a topic that does not exist is empty")
	require.Empty(t, keys)

	require.NoError(t, kafka.Provision(t.Context(), cfg, []event.TopicSpec{{Name: topic, Partitions: 1, Retention: time.Hour}}))
	producer, err := kafka.NewProducer(cfg, kafka.Deps{Log: log})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, producer.Close(context.Background())) })
	for _, key := range []string{"a", "b", "c", "d"} {
		require.NoError(t, producer.Publish(t.Context(), event.Record{Topic: topic, Key: key, Value: []byte("x")}))
	}
	for _, tc := range []struct {
		from  kafka.Place
		since time.Time
		limit int
		want  []string
	}{
		{limit: 10, want: []string{"a", "b", "c", "d"}},
		{limit: 2, want: []string{"a", "b"}},
		{from: kafka.Place{Offset: 2}, limit: 10, want: []string{"c", "d"}},
		{from: kafka.Place{Offset: 99}, limit: 10},
		{from: kafka.Place{Partition: 1}, limit: 10},
		{since: time.Now().Add(-time.Hour), limit: 10, want: []string{"a", "b", "c", "d"}},
		{since: time.Now().Add(time.Hour), limit: 10},
		{since: time.Date(538, 1, 1, 0, 0, 0, 0, time.UTC), limit: 10, want: []string{"a", "b", "c", "d"}},
	} {
		keys, err := scan(tc.from, tc.since, tc.limit)
		require.NoError(t, err)
		require.Equal(t, tc.want, keys)
	}
	require.NoError(t, kafka.DeleteBefore(t.Context(), cfg, topic, kafka.Place{Offset: 3}))
	keys, err = scan(kafka.Place{}, time.Time{}, 10)
	require.NoError(t, err)
	require.Equal(t, []string{"d"}, keys)
}

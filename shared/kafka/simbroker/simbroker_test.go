package simbroker_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/kafka/simbroker"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestRecordsAreCountedAndLost(t *testing.T) {
	t.Parallel()
	b, err := simbroker.Start(nil)
	require.NoError(t, err)
	t.Cleanup(b.Close)
	c := kafka.Config{Brokers: []string{b.Addr()}, Dial: b.Dial}
	require.NoError(t, kafka.Provision(t.Context(), c, []event.TopicSpec{{Name: "written", Partitions: 2}, {Name: "empty", Partitions: 1}}))
	producer, err := kafka.NewProducer(c, kafka.Deps{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	for _, key := range []string{"a", "b", "c"} {
		require.NoError(t, producer.Publish(t.Context(), event.Record{Topic: "written", Key: key}))
	}
	require.NoError(t, producer.Close(t.Context()))

	require.True(t, b.Written("written"))
	require.False(t, b.Written("empty"))
	require.EqualValues(t, 3, b.Unread("nobody", "written", "empty"))
	unread, err := kafka.Unread(t.Context(), c, "nobody", "written", "empty")
	require.NoError(t, err)
	require.Equal(t, b.Unread("nobody", "written", "empty"), unread, "as a client counts them")

	b.Lose("written")
	require.True(t, b.Written("written"))
	require.Zero(t, b.Unread("nobody", "written"))
}

package stage

import (
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

// The group may give partitions before the function that opens the client has returned: the callback waits for the client instead of using
// none, and ends with its context.
func TestCommittedOffsetsWaitForTheClient(t *testing.T) {
	t.Parallel()
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	client, err := kgo.NewClient(kgo.SeedBrokers(broker.Addr()))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	r := &Runner{opened: make(chan struct{}), log: slog.New(slog.DiscardHandler)}
	offsets := map[string]map[int32]kgo.Offset{event.TopicJobs: {}}

	ended, cancel := context.WithCancel(t.Context())
	cancel()
	got, err := r.noteCommitted(ended, offsets)
	require.NoError(t, err)
	require.Equal(t, offsets, got)

	done := make(chan error, 1)
	go func() {
		_, err := r.noteCommitted(t.Context(), offsets)
		done <- err
	}()
	r.client = client
	close(r.opened)
	require.NoError(t, <-done)
}

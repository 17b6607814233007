package stage

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

// TestNotReadyWithoutKafka: a stage whose brokers are gone says so, and is ready again with the first answer.
func TestNotReadyWithoutKafka(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r, err := New(Config{Stage: "test", Topics: []string{event.TopicWindows}}, Deps{
			Kafka: kafka.Config{Brokers: []string{"kafka:9092"}}, Producer: &publisherStub{}, Log: slog.New(slog.DiscardHandler),
			Handle: func(context.Context, event.Record, proto.Message) ([]event.Record, error) { return nil, nil },
		})
		require.NoError(t, err)
		require.ErrorContains(t, r.Ready(), "has not joined")
		r.joined.Store(true)
		time.Sleep(brokerSilence) //nolint:forbidigo // the bubble's clock
		require.NoError(t, r.Ready())
		time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
		require.ErrorContains(t, r.Ready(), "no answer from Kafka at kafka:9092 for 16s")
		r.pulse.OnBrokerRead(kgo.BrokerMetadata{}, 0, 0, 0, 0, kgo.ErrClientClosed)
		require.Error(t, r.Ready())
		r.pulse.OnBrokerRead(kgo.BrokerMetadata{}, 0, 0, 0, 0, nil)
		require.NoError(t, r.Ready())
	})
}

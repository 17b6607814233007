package kafka

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/shared/event"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSmoke(t *testing.T) {
	b, err := StartBroker(BrokerConfig{Dir: t.TempDir(), Log: slog.Default()})
	require.NoError(t, err)
	defer b.Close()
	cfg := Config{Brokers: []string{b.Addr()}}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	require.NoError(t, Ping(ctx, cfg))
	t0 := time.Now()
	require.NoError(t, Provision(ctx, cfg, event.Topics()))
	require.NoError(t, Provision(ctx, cfg, event.Topics()))
	fmt.Println(time.Since(t0))
	p, err := NewProducer(cfg, Deps{Log: slog.Default()})
	require.NoError(t, err)
	t0 = time.Now()
	for i := range 100 {
		require.NoError(t, p.Publish(ctx, event.Record{Topic: event.TopicJobs, Key: fmt.Sprint(i), Value: []byte("x")}))
	}
	fmt.Println("publish", time.Since(t0)/100)
	got := 0
	t0 = time.Now()
	up, wait := Tail(ctx, cfg, event.TopicJobs, Earliest, func(event.Record, int32, int64) { got++ })
	<-up
	fmt.Println("caught up", time.Since(t0))
	require.Equal(t, 100, got)
	cancel()
	require.NoError(t, wait())
	require.NoError(t, p.Close(context.Background()))
}

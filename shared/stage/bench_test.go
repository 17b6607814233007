package stage_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/stage"
)

// BenchmarkHop gives the time of one record, one at a time, from being published over a runner with
// an idle handler to its output being read: the latency that a stage adds beside its own work.
func BenchmarkHop(b *testing.B) {
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Dir: b.TempDir(), Log: testLog()})
	require.NoError(b, err)
	defer func() { _ = broker.Close() }()
	cfg := kafka.Config{Brokers: []string{broker.Addr()}}
	require.NoError(b, kafka.Provision(b.Context(), cfg, event.Topics()))
	out, err := kafka.NewProducer(cfg, kafka.Deps{Log: testLog()})
	require.NoError(b, err)
	defer func() { require.NoError(b, out.Close(context.Background())) }()
	r, err := stage.New(stage.Config{Stage: "encoder", Topics: []string{event.TopicWindows}}, stage.Deps{
		Kafka: cfg, Producer: out, Log: testLog(),
		Handle: func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) { return answer(rec) },
	})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	answers := make(chan struct{}, 1)
	caughtUp, wait := kafka.Tail(ctx, cfg, event.TopicAnswers, kafka.Latest, func(event.Record, int32, int64) { answers <- struct{}{} })
	<-caughtUp
	hop := func(i int) {
		rec, err := event.Encode("bench", window("job", fmt.Sprint("key", i), 0, 1))
		require.NoError(b, err)
		require.NoError(b, out.Publish(ctx, rec))
		<-answers
	}
	hop(0) // the group is joined once the first has come through
	for i := 1; b.Loop(); i++ {
		hop(i)
	}
	cancel()
	require.NoError(b, <-ended)
	require.NoError(b, wait())
}

// BenchmarkBacklog gives the records a second that a runner with an idle handler takes from a backlog of 5,000 records of different keys:
//
//	go test ./shared/stage -run xxx -bench Backlog -benchtime 1x
func BenchmarkBacklog(b *testing.B) {
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Dir: b.TempDir(), Log: testLog()})
	require.NoError(b, err)
	defer func() { _ = broker.Close() }()
	cfg := kafka.Config{Brokers: []string{broker.Addr()}}
	require.NoError(b, kafka.Provision(b.Context(), cfg, event.Topics()))
	out, err := kafka.NewProducer(cfg, kafka.Deps{Log: testLog()})
	require.NoError(b, err)
	defer func() { require.NoError(b, out.Close(context.Background())) }()
	const n = 5000
	recs := make([]event.Record, n)
	for i := range recs {
		recs[i], err = event.Encode("bench", window("job", fmt.Sprint("key", i), 0, 1))
		require.NoError(b, err)
	}
	for some := range slices.Chunk(recs, 100) {
		require.NoError(b, out.Publish(b.Context(), some...))
	}
	var handled atomic.Int64
	all := make(chan struct{})
	r, err := stage.New(stage.Config{Stage: "encoder", Topics: []string{event.TopicWindows}}, stage.Deps{
		Kafka: cfg, Producer: out, Log: testLog(),
		Handle: func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
			if handled.Add(1) == n {
				close(all)
			}
			return answer(rec)
		},
	})
	require.NoError(b, err)
	ctx, cancel := context.WithCancel(b.Context())
	ended := make(chan error, 1)
	b.ResetTimer()
	go func() { ended <- r.Run(ctx) }()
	<-all
	b.StopTimer()
	b.ReportMetric(n/b.Elapsed().Seconds(), "records/s")
	cancel()
	require.NoError(b, <-ended)
}

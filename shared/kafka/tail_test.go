package kafka_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

// TestTailAfterTheBrokerHasLostItsLog: a broker that comes back empty at the same address has a new log, and none of its records may be missed:
// neither when it is shorter than what was read before, nor when it is longer.
func TestTailAfterTheBrokerHasLostItsLog(t *testing.T) {
	t.Parallel()
	for _, from := range []kafka.TailFrom{kafka.Earliest, kafka.Latest} {
		for _, n := range []int{3, 40} {
			t.Run(fmt.Sprint(from, " ", n, " records"), func(t *testing.T) {
				t.Parallel()
				spec := []event.TopicSpec{{Name: topic, Partitions: 1, Retention: time.Hour}}
				first, err := kafka.StartBroker(kafka.BrokerConfig{Log: silent()})
				require.NoError(t, err)
				cfg := kafka.Config{Brokers: []string{first.Addr()}}
				require.NoError(t, kafka.Provision(t.Context(), cfg, spec))
				ctx, cancel := context.WithCancel(t.Context())
				var got collector
				seen := make(chan string, 100)
				caughtUp, wait := kafka.Tail(ctx, cfg, topic, from, func(rec event.Record, partition int32, offset int64) {
					got.take(rec, partition, offset)
					seen <- string(rec.Value)
				})
				t.Cleanup(func() {
					cancel()
					require.NoError(t, wait())
				})
				<-caughtUp
				publish := func(prefix string, n int) {
					p := newProducer(t, cfg)
					for i := range n {
						require.NoError(t, p.Publish(t.Context(), event.Record{Topic: topic, Key: "k", Value: fmt.Append(nil, prefix, i)}))
					}
				}
				expect := func(prefix string, n int) {
					left := make(map[string]bool)
					for i := range n {
						left[fmt.Sprint(prefix, i)] = true
					}
					for timeout := time.After(patience); len(left) > 0; {
						select {
						case v := <-seen:
							delete(left, v)
						case <-timeout:
							require.Failf(t, "records missed", "%d of %d: %v", len(left), n, left)
						}
					}
				}
				publish("old", 10)
				expect("old", 10)

				require.NoError(t, first.Close())
				second, err := kafka.StartBroker(kafka.BrokerConfig{Log: silent(), Addr: first.Addr()})
				require.NoError(t, err)
				t.Cleanup(func() { require.NoError(t, second.Close()) })
				require.NoError(t, kafka.Provision(t.Context(), cfg, spec))
				publish("new", n)
				expect("new", n)
			})
		}
	}
}

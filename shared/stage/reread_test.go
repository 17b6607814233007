package stage_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/stage"
)

// metered counts what a broker sends.
type metered struct {
	net.Listener
	sent *atomic.Int64
}

func (m metered) Accept() (net.Conn, error) {
	conn, err := m.Listener.Accept()
	return meteredConn{conn, m.sent}, err
}

type meteredConn struct {
	net.Conn
	sent *atomic.Int64
}

func (c meteredConn) Write(b []byte) (int, error) {
	c.sent.Add(int64(len(b)))
	return c.Conn.Write(b)
}

// A stage that is slower than its topic pauses and resumes its partitions. The client drops what it has fetched of a partition that is
// paused; were that more than a part of what is read, the broker would send the topic many times over.
func TestASlowStageDoesNotReadItsTopicManyTimes(t *testing.T) {
	t.Parallel()
	var sent atomic.Int64
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.ListenFn(func(network, addr string) (net.Listener, error) {
		l, err := net.Listen(network, addr)
		return metered{l, &sent}, err
	}))
	require.NoError(t, err)
	t.Cleanup(fake.Close)
	c := attach(t, fake.ListenAddrs()[0], 1)

	const records, size = 4000, 2 << 10
	var total int64
	rng := rand.New(rand.NewPCG(1, 2))
	for i := 0; i < records; i += 100 {
		recs := make([]event.Record, 100)
		for k := range recs {
			rec, err := event.Encode("test", window("job", fmt.Sprint("key", i+k), uint32(i+k), 1))
			require.NoError(t, err)
			recs[k] = rec.With("padding", noise(rng, size))
			total += int64(len(recs[k].Value) + size)
		}
		require.NoError(t, c.out.Publish(t.Context(), recs...))
	}
	before := sent.Load()
	var handled atomic.Int64
	done := make(chan struct{})
	c.start(func(context.Context, event.Record, proto.Message) ([]event.Record, error) {
		for range 20 { // slower than the broker
			runtime.Gosched()
		}
		if handled.Add(1) == records {
			close(done)
		}
		return nil, nil
	}, func(cfg *stage.Config, _ *stage.Deps) { cfg.Concurrency, cfg.MaxInFlightRecords = 4, 8 })
	<-done
	times := float64(sent.Load()-before) / float64(total)
	t.Logf("the broker sent the topic %.1f times", times)
	require.Less(t, times, 3.0)
}

// noise is text that the client cannot compress.
func noise(rng *rand.Rand, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
	return string(b)
}

package stage_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
)

// line is a network connection to the broker that can be cut for good, as when a process is killed:
// no request of it, such as leaving the group, arrives after that.
type line struct {
	mu    sync.Mutex
	cut   bool
	conns []net.Conn
}

func (l *line) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut {
		return nil, errors.Join(errors.New("line is cut"), conn.Close())
	}
	l.conns = append(l.conns, conn)
	return conn, nil
}

func (l *line) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.cut = true
	for _, c := range l.conns {
		_ = c.Close()
	}
}

// A member that dies without leaving keeps its partitions for the session timeout; then the next
// instance does its work.
func TestWorkOfAKilledInstanceIsTakenOver(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 4)
	l := &line{}
	dead, err := kgo.NewClient(kgo.SeedBrokers(c.config.Brokers...), kgo.Dialer(l.dial), kgo.ConsumerGroup("lark.test"),
		kgo.ConsumeTopics(event.TopicWindows), kgo.Balancers(kgo.CooperativeStickyBalancer()),
		kgo.SessionTimeout(10*time.Second), kgo.HeartbeatInterval(time.Second), kgo.DisableAutoCommit())
	require.NoError(t, err)
	const records = 20
	for i := range records {
		c.publish(window("job", fmt.Sprint("key", i), uint32(i), 1))
	}
	require.NotZero(t, dead.PollFetches(t.Context()).NumRecords())
	l.kill()
	t.Cleanup(dead.Close)

	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) { return answer(rec) })
	for _, os := range c.waitOutcomes(records) {
		require.Len(t, os, 1)
	}
	c.waitLag("lark.test", 0)
}

package stage_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/stage"
)

// logged is a log that several goroutines write.
type logged struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logged) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logged) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// Records that the broker deletes before they are committed must not vanish in silence.
func TestRecordsDeletedBeforeTheyWereHandledRaiseAnAlarm(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	var out logged
	name := fmt.Sprintf("loss-%x", rand.Uint64()) // its metrics are its own
	start := func() *running {
		return c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) { return answer(rec) },
			func(cfg *stage.Config, d *stage.Deps) {
				cfg.Stage, d.Log = name, slog.New(slog.NewTextHandler(&out, nil))
			})
	}
	publish := func(from, to int) {
		for i := from; i < to; i++ {
			c.publish(window("job", fmt.Sprint("key", i), uint32(i), 1))
		}
	}
	client, err := kgo.NewClient(kgo.SeedBrokers(c.config.Brokers...))
	require.NoError(t, err)
	t.Cleanup(client.Close)
	deleteTo := func(at int64) {
		t.Helper()
		offsets := make(kadm.Offsets)
		offsets.AddOffset(event.TopicWindows, 0, at, -1)
		resp, err := kadm.NewClient(client).DeleteRecords(t.Context(), offsets)
		require.NoError(t, err)
		require.NoError(t, resp[event.TopicWindows][0].Err)
	}

	publish(0, 10)
	deleteTo(2)
	run := start()
	c.waitOutcomes(8)
	c.waitLag("lark."+name, 0)
	require.NoError(t, run.drain())
	require.NotContains(t, out.String(), "deleted", "a group that had committed nothing begins where the topic begins")

	publish(10, 20)
	deleteTo(20) // all of it, as retention does with a stage that is down for long
	run = start()
	require.Eventually(t, func() bool {
		return strings.Contains(out.String(), "the broker deleted records before they were handled")
	}, patience, tick)
	require.Contains(t, out.String(), "records=10")
	publish(20, 22)
	c.waitOutcomes(8 + 2)
	c.waitLag("lark."+name, 0)
	require.NoError(t, run.drain())
	require.Contains(t, scrape(t), `lark_stage_lost_total{lark_stage="`+name+`",lark_topic="lark.windows.v1"} 10`)
}

package stage_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// TestReadersOfARecordWithoutTraceShareOne: the chunker and the recorder both read a fed job, and the ids in the job and in its outcomes must
// be the same.
func TestReadersOfARecordWithoutTraceShareOne(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	seen := make(chan string, 2)
	note := func(ctx context.Context, _ event.Record, _ proto.Message) ([]event.Record, error) {
		seen <- telemetry.TraceID(ctx)
		return nil, nil
	}
	for _, name := range []string{"cutter", "adopter"} {
		c.start(note, func(cfg *stage.Config, _ *stage.Deps) { cfg.Stage, cfg.Group = name, event.Group(name) })
	}
	c.publish(window("fed-job", "key", 0, 1))
	first, second := <-seen, <-seen
	require.NotEmpty(t, first)
	require.Equal(t, first, second)
	c.waitLag("lark.cutter", 0)
	c.waitLag("lark.adopter", 0)
	require.Eventually(t, func() bool { return len(spansOf(first)) == 2 }, patience, tick)
	for _, s := range spansOf(first) {
		require.False(t, s.Parent.IsValid(), "no parent that does not exist")
		require.Contains(t, s.Attributes, telemetry.AttrJobID.String("fed-job"))
		require.Contains(t, s.Attributes, telemetry.AttrMessagingPartition.String("0"))
		require.Contains(t, s.Attributes, telemetry.AttrMessagingType.String("process"))
	}
	c.publish(window("another-job", "key", 0, 1))
	require.NotEqual(t, first, <-seen)
}

func spansOf(traceID string) (out []tracetest.SpanStub) {
	for _, s := range spans.GetSpans() {
		if s.SpanContext.TraceID().String() == traceID {
			out = append(out, s)
		}
	}
	return out
}

// sink takes what a stage publishes.
type sink struct {
	mu   sync.Mutex
	recs []event.Record
}

func (s *sink) Publish(_ context.Context, recs ...event.Record) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.recs = append(s.recs, recs...)
	return nil
}

func (s *sink) all() []event.Record {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]event.Record(nil), s.recs...)
}

// TestManyWindowsHaveTracesOfTheirOwn: few windows go on in the trace of their job; of many, each begins a trace, linked with the job's.
func TestManyWindowsHaveTracesOfTheirOwn(t *testing.T) {
	t.Parallel()
	for _, n := range []int{16, 80} {
		c := newCluster(t, 1)
		var out sink
		name := fmt.Sprint("cutter", n)
		run := c.start(func(context.Context, event.Record, proto.Message) ([]event.Record, error) {
			recs := []event.Record{{Topic: event.TopicAnswers, Key: "the plan"}}
			for i := range n {
				recs = append(recs, event.Record{Topic: event.TopicWindows, Key: strconv.Itoa(i)})
			}
			return recs, nil
		}, func(cfg *stage.Config, d *stage.Deps) {
			cfg.Stage, cfg.Group, d.Producer = name, event.Group(name), &out
		})
		job := fmt.Sprint("job-of-", n)
		ctx, root := telemetry.Tracer().Start(t.Context(), "submit")
		rec, err := event.Encode("test", window(job, "key", 0, 1))
		require.NoError(t, err)
		require.NoError(t, c.out.Publish(ctx, rec))
		root.End()
		c.waitLag(event.Group(name), 0)
		require.NoError(t, run.drain())

		here, elsewhere := 0, map[trace.TraceID]bool{}
		for _, rec := range out.all() {
			sc := trace.SpanContextFromContext(telemetry.ExtractContext(context.Background(), rec.Headers))
			require.True(t, sc.IsValid())
			if sc.TraceID() == root.SpanContext().TraceID() {
				here++
			} else {
				elsewhere[sc.TraceID()] = true
			}
		}
		if n <= 16 {
			require.Equal(t, n+1, here)
			requireSent(t, root.SpanContext().TraceID().String(), out.all(), map[string]int{event.TopicAnswers: 1, event.TopicWindows: n})
			continue
		}
		require.Equal(t, 1, here, "the plan")
		require.Len(t, elsewhere, n)
		of := spansOf(root.SpanContext().TraceID().String())
		require.LessOrEqual(t, len(of), 3, "the trace of the job stays small")
		var process tracetest.SpanStub
		for _, s := range of {
			if strings.HasPrefix(s.Name, telemetry.SpanProcess) {
				process = s
			}
		}
		require.Contains(t, process.Attributes, telemetry.AttrBranches.Int(n))
		require.Len(t, process.Links, n, "from the job to its windows")
		for id := range elsewhere {
			sent := spansOf(id.String())
			require.Len(t, sent, 1)
			require.Equal(t, telemetry.SpanSend+event.TopicWindows, sent[0].Name)
			require.Equal(t, trace.SpanKindProducer, sent[0].SpanKind)
			require.Equal(t, process.SpanContext.SpanID(), sent[0].Links[0].SpanContext.SpanID(), "from the window to its job")
			require.Contains(t, sent[0].Attributes, telemetry.AttrJobID.String(job))
		}
	}
}

// requireSent checks that the records of each topic are the children of one span, which has sent them.
func requireSent(t *testing.T, traceID string, recs []event.Record, want map[string]int) {
	t.Helper()
	sent := map[trace.SpanID]string{}
	for _, s := range spansOf(traceID) {
		topic, isSend := strings.CutPrefix(s.Name, telemetry.SpanSend)
		if !isSend {
			continue
		}
		require.Equal(t, trace.SpanKindProducer, s.SpanKind)
		batch := telemetry.AttrMessagingBatch.Int(want[topic])
		if want[topic] > 1 {
			require.Contains(t, s.Attributes, batch)
		} else {
			require.NotContains(t, s.Attributes, batch)
		}
		sent[s.SpanContext.SpanID()] = topic
	}
	require.Len(t, sent, len(want), "one span for each topic")
	for _, rec := range recs {
		sc := trace.SpanContextFromContext(telemetry.ExtractContext(context.Background(), rec.Headers))
		require.Equal(t, rec.Topic, sent[sc.SpanID()])
	}
}

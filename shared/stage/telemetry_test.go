package stage_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// A record's spans hang together over retries, outputs and dead letters: each is the child of the
// span that sent the record.
func TestOneTraceThroughRetriesAndDeadLetter(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	var calls atomic.Int32
	c.start(func(ctx context.Context, _ event.Record, _ proto.Message) ([]event.Record, error) {
		if calls.Add(1) == 1 {
			return nil, errors.New("once")
		}
		if telemetry.TraceID(ctx) == "" {
			return nil, errors.New("handler without a trace")
		}
		return nil, stage.Permanent(event.CodeEngineError, errors.New("for good"))
	}, func(cfg *stage.Config, _ *stage.Deps) { cfg.Attempts = 1 })

	ctx, root := telemetry.Tracer().Start(t.Context(), "submit")
	rec, err := event.Encode("test", window("job", "key", 0, 1))
	require.NoError(t, err)
	require.NoError(t, c.out.Publish(ctx, rec))
	root.End()
	for _, os := range c.waitOutcomes(1) {
		require.Equal(t, root.SpanContext().TraceID().String(), os[0].GetTraceId())
	}
	dead := c.waitDead(1)[0]
	c.waitLag("lark.test", 0)

	byName := map[string]tracetest.SpanStub{}
	require.Eventually(t, func() bool {
		for _, s := range spans.GetSpans() {
			if s.SpanContext.TraceID() == root.SpanContext().TraceID() {
				byName[s.Name] = s
			}
		}
		return len(byName) == 6
	}, patience, tick)
	first := byName["process "+event.TopicWindows]
	second := byName["process "+event.RetryTopic("test", testDelays[0])]
	require.Equal(t, root.SpanContext().SpanID(), first.Parent.SpanID())
	require.Equal(t, codes.Error, second.Status.Code)
	require.Contains(t, second.Attributes, telemetry.AttrJobID.String("job"))
	retry := byName["send "+event.RetryTopic("test", testDelays[0])]
	require.Equal(t, first.SpanContext.SpanID(), retry.Parent.SpanID())
	require.Equal(t, retry.SpanContext.SpanID(), second.Parent.SpanID())
	for topic, rec := range map[string]event.Record{event.TopicDead: dead, event.TopicAnswers: answerRecord(t, c)} {
		sent := byName["send "+topic]
		require.Equal(t, second.SpanContext.SpanID(), sent.Parent.SpanID())
		require.Equal(t, trace.SpanKindProducer, sent.SpanKind)
		require.Contains(t, rec.Get("traceparent"), sent.SpanContext.SpanID().String())
	}
}

func answerRecord(t *testing.T, c *cluster) event.Record {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	require.Len(t, c.answers, 1)
	return c.answers[0]
}

func TestMetricsCountWhatBecameOfRecords(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	name := "counted" + strconv.FormatInt(time.Now().UnixNano(), 10) // counters outlive a run with -count
	run := c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		switch taskOf(rec).GetWindow().GetIndex() {
		case 0:
			return nil, stage.Permanent(event.CodeEngineError, errors.New("no"))
		case 1:
			return nil, errors.New("not now")
		}
		return answer(rec)
	}, func(cfg *stage.Config, _ *stage.Deps) { cfg.Stage, cfg.Group = name, "lark.counted" })
	for i := range uint32(3) {
		c.publish(window("job", "key", i, 1))
	}
	for id, os := range c.waitOutcomes(3) {
		want := eventpb.State_STATE_FAILED
		if id == event.OutcomeID("job", 0, 2) {
			want = eventpb.State_STATE_ANSWERED
		}
		require.Equal(t, want, os[0].GetState())
	}
	c.waitLag("lark.counted", 0)
	require.NoError(t, run.drain())

	page := httptest.NewRecorder()
	process.MetricsHandler().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	var ours []string
	for line := range strings.Lines(page.Body.String()) {
		if strings.Contains(line, name) {
			ours = append(ours, strings.TrimSpace(line))
		}
	}
	for _, want := range []string{
		`lark_stage_records_total{lark_lane="interactive",lark_result="ok",lark_stage="NAME",lark_topic="lark.windows.v1"} 1`,
		`lark_stage_records_total{lark_lane="interactive",lark_result="dead",lark_stage="NAME",lark_topic="lark.windows.v1"} 1`,
		`lark_stage_records_total{lark_lane="interactive",lark_result="retried",lark_stage="NAME",lark_topic="lark.windows.v1"} 1`,
		`lark_stage_dead_total{lark_code="engine_error",lark_stage="NAME"} 1`,
		`lark_stage_dead_total{lark_code="internal",lark_stage="NAME"} 1`,
		`lark_stage_retries_total{lark_reason="in_place",lark_stage="NAME"} 3`,
		`lark_stage_retries_total{lark_reason="topic",lark_stage="NAME"} 2`,
		`lark_stage_in_flight_bytes{lark_lane="interactive",lark_stage="NAME"} 0`,
		`lark_stage_in_flight_records{lark_lane="interactive",lark_stage="NAME"} 0`,
	} {
		require.Contains(t, ours, strings.ReplaceAll(want, "NAME", name))
	}
}

// scrape is the page of metrics of all tests.
func scrape(t *testing.T) string {
	t.Helper()
	page := httptest.NewRecorder()
	process.MetricsHandler().ServeHTTP(page, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return page.Body.String()
}

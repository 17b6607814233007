package telemetry_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// collector is an OTLP receiver: spans are kept, metrics are counted.
type collector struct {
	*httptest.Server
	metrics atomic.Int64

	mu    sync.Mutex
	spans []seen
}

// seen is what the tests compare of a span, by whichever way it came.
type seen struct {
	trace, id, parent, service, name, kind, message string
	attrs                                           map[string]string
	failed                                          bool
	events                                          int
}

func (c *collector) takeSpans(w http.ResponseWriter, r *http.Request) {
	body, err := gzip.NewReader(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	raw, err := io.ReadAll(body)
	var req collectorpb.ExportTraceServiceRequest
	if err = errors.Join(err, proto.Unmarshal(raw, &req)); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rs := range req.GetResourceSpans() {
		service := textsOf(rs.GetResource().GetAttributes())["service.name"]
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				c.spans = append(c.spans, seen{
					trace: hex.EncodeToString(s.GetTraceId()), id: hex.EncodeToString(s.GetSpanId()), parent: hex.EncodeToString(s.GetParentSpanId()),
					service: service, name: s.GetName(), kind: strings.ToLower(strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_")),
					message: s.GetStatus().GetMessage(), attrs: textsOf(s.GetAttributes()),
					failed: s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR, events: len(s.GetEvents()),
				})
			}
		}
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func textsOf(attrs []*commonpb.KeyValue) map[string]string {
	out := make(map[string]string, len(attrs))
	for _, kv := range attrs {
		out[kv.GetKey()] = kv.GetValue().GetStringValue()
	}
	return out
}

// inProcess are the spans that an exporter was given, in the order in which they began.
func inProcess(spans *tracetest.InMemoryExporter) (out []seen) {
	for _, s := range spans.GetSpans() {
		v := seen{
			trace: s.SpanContext.TraceID().String(), id: s.SpanContext.SpanID().String(), name: s.Name, kind: s.SpanKind.String(),
			message: s.Status.Description, attrs: make(map[string]string), failed: s.Status.Code == codes.Error, events: len(s.Events),
		}
		if s.Parent.HasSpanID() {
			v.parent = s.Parent.SpanID().String()
		}
		for _, kv := range s.Attributes {
			v.attrs[string(kv.Key)] = kv.Value.String()
		}
		for _, kv := range s.Resource.Attributes() {
			if kv.Key == "service.name" {
				v.service = kv.Value.String()
			}
		}
		out = append(out, v)
	}
	return out
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	c := &collector{}
	mux := http.NewServeMux()
	mux.HandleFunc("/v1/traces", c.takeSpans)
	mux.HandleFunc("/v1/metrics", func(w http.ResponseWriter, r *http.Request) {
		if n, err := io.Copy(io.Discard, r.Body); err == nil && n > 0 {
			c.metrics.Add(1)
		}
		w.Header().Set("Content-Type", "application/x-protobuf")
	})
	c.Server = httptest.NewServer(mux)
	t.Cleanup(c.Close)
	return c
}

// The providers are global to the process, so this test has Start to itself.
func TestStartExportsTracesMetricsAndLogs(t *testing.T) {
	upstream, own, logs := newCollector(t), tracetest.NewInMemoryExporter(), &bytes.Buffer{}
	tel, stop, err := telemetry.Start(t.Context(), telemetry.Config{
		Service: telemetry.ServiceEncoder, Version: "v1", OTLPEndpoint: upstream.URL + "/", Spans: own,
		LogFormat: telemetry.LogJSON, LogOutput: logs,
	})
	require.NoError(t, err)

	ctx, root := telemetry.Tracer().Start(t.Context(), telemetry.SpanSubmit)
	headers := telemetry.InjectHeaders(ctx, nil)
	remote := telemetry.ExtractContext(context.Background(), headers)
	remote, child := telemetry.Tracer().Start(remote, telemetry.SpanProcess+event.TopicWindows,
		trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(telemetry.AttrJobID.String("job-1")))
	tel.Log.InfoContext(remote, "inside")
	telemetry.End(child, errors.New("encoding window: broken"))
	telemetry.End(root, nil)

	engines, stages := telemetry.NewEngineMetrics(), telemetry.NewStageMetrics()
	for range 3 {
		engines.EncoderRun(ctx, "nano")
	}
	engines.Work(ctx, "encoder", "nano", 5*time.Second, 25)
	engines.FirstToken(ctx, "lark-nano", 40*time.Millisecond)
	engines.Tokens(ctx, "lark-nano", 260, 11, time.Second)
	engines.Active(ctx, "llm", "reference", 2)
	stages.Handled(ctx, "encoder", event.TopicWindows, telemetry.ResultOK, 20*time.Millisecond)
	stages.Waited(ctx, "encoder", event.TopicWindows, 1500*time.Millisecond)
	stages.InFlight(ctx, "encoder", event.LaneBulk, 4, 4096)
	telemetry.NewCacheMetrics().CircuitOpen(ctx, telemetry.TierRedis, true)
	telemetry.NewLedgerMetrics().Outcome(ctx, "default", "answered", "", telemetry.ResultHit)
	names := served(t, own)
	text, kept := scrape(t, tel, ""), inProcess(own)
	exemplars := scrape(t, tel, "application/openmetrics-text; version=1.0.0")
	require.NoError(t, stop(t.Context()))

	for _, line := range []string{
		`lark_encoder_runs_total{lark_engine="nano"} 3`,
		`lark_engine_seconds_per_audio_second_sum{lark_engine="nano",lark_stage="encoder"} 0.2`,
		`lark_engine_busy_seconds_total{lark_engine="nano",lark_stage="encoder"} 5`,
		`lark_engine_active{lark_engine="reference",lark_stage="llm"} 2`,
		`lark_stage_records_total{lark_lane="interactive",lark_result="ok",lark_stage="encoder",lark_topic="lark.windows.v1"} 1`,
		`lark_stage_wait_seconds_sum{lark_lane="interactive",lark_stage="encoder",lark_topic="lark.windows.v1"} 1.5`,
		`lark_stage_in_flight_records{lark_lane="bulk",lark_stage="encoder"} 4`,
		`lark_stage_in_flight_bytes{lark_lane="bulk",lark_stage="encoder"} 4096`,
		`lark_cache_circuit_open{lark_cache_tier="redis"} 1`,
		`lark_outcomes_total{lark_cache="hit",lark_code="",lark_state="answered",lark_tenant="default"} 1`,
		`lark_engine_tokens_per_second_sum{gen_ai_operation_name="generate_content",gen_ai_provider_name="larkstream",gen_ai_request_model="lark-nano"} 10`,
		`gen_ai_server_time_to_first_token_seconds_count{`,
		`gen_ai_client_token_usage_sum{`,
		`go_goroutines `, `process_cpu_seconds_total `,
	} {
		require.Contains(t, text, line)
	}

	require.Equal(t, []string{"POST /v1/jobs", "POST /v1/jobs"}, names, "a read makes no span, whatever trace it names")
	require.Contains(t, text, `http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200"`)
	require.Regexp(t, `lark_stage_duration_seconds_bucket\{[^}]*\} 1 # \{[^}]*trace_id="`+root.SpanContext().TraceID().String()+`"`, exemplars,
		"a measurement leads to its trace")
	require.Positive(t, upstream.metrics.Load(), "metrics by OTLP")
	for name, all := range map[string][]seen{"by OTLP": upstream.spans, "in process": kept} {
		var spans []seen // the inner one ends first
		for _, s := range all {
			if s.trace == root.SpanContext().TraceID().String() {
				spans = append(spans, s)
			}
		}
		require.Len(t, spans, 2, name)
		require.Equal(t, telemetry.SpanSubmit, spans[1].name, name)
		require.Equal(t, spans[1].id, spans[0].parent, name)
		require.Equal(t, telemetry.ServiceEncoder, spans[0].service, name)
		require.Equal(t, "consumer", spans[0].kind, name)
		require.Equal(t, "job-1", spans[0].attrs["lark.job.id"], name)
		require.True(t, spans[0].failed, name)
		require.Equal(t, "encoding window: broken", spans[0].message, name)
		require.Equal(t, 1, spans[0].events, "the recorded error, "+name)
	}

	var line struct{ Msg, TraceID, SpanID string }
	require.NoError(t, json.Unmarshal(bytes.NewBuffer(bytes.ReplaceAll(logs.Bytes(), []byte("_id"), []byte("ID"))).Bytes(), &line))
	require.Equal(t, "inside", line.Msg)
	require.Equal(t, telemetry.TraceID(ctx), line.TraceID)
	require.Equal(t, child.SpanContext().SpanID().String(), line.SpanID)
}

// served sends requests to a traced handler as the gateway has it, one mux within another, and returns the
// names of the new spans.
func served(t *testing.T, spans *tracetest.InMemoryExporter) (names []string) {
	t.Helper()
	api, outer := http.NewServeMux(), http.NewServeMux()
	api.HandleFunc("POST /v1/jobs", func(http.ResponseWriter, *http.Request) {})
	api.HandleFunc("/v1/jobs/{id}", func(http.ResponseWriter, *http.Request) {})
	outer.Handle("/", telemetry.HTTPHandler(api)) // its pattern is no route
	before := len(spans.GetSpans())
	for _, r := range []struct{ method, path, parent string }{
		{http.MethodPost, "/v1/jobs", ""},
		{http.MethodGet, "/v1/jobs/7", ""},
		{http.MethodGet, "/v1/jobs/7", parent},
		{http.MethodPost, "/v1/jobs", parent},
	} {
		req := httptest.NewRequestWithContext(context.Background(), r.method, r.path, nil)
		if r.parent != "" {
			req.Header.Set("traceparent", r.parent)
		}
		outer.ServeHTTP(httptest.NewRecorder(), req)
	}
	for _, s := range spans.GetSpans()[before:] {
		names = append(names, s.Name)
		require.False(t, s.Parent.IsValid(), "a stranger's span is no parent")
		_, path, _ := strings.Cut(s.Name, " ")
		require.Contains(t, s.Attributes, telemetry.AttrHTTPRoute.String(path))
	}
	links := spans.GetSpans()[before+1].Links
	require.Len(t, links, 1)
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", links[0].SpanContext.TraceID().String())
	return names
}

func scrape(t *testing.T, tel *telemetry.Telemetry, accept string) string {
	t.Helper()
	rec, req := httptest.NewRecorder(), httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
	req.Header.Set("Accept", accept)
	tel.MetricsHandler().ServeHTTP(rec, req)
	require.Equal(t, http.StatusOK, rec.Code)
	return rec.Body.String()
}

func TestStartRefusesBadLogSettings(t *testing.T) {
	t.Parallel()
	_, _, err := telemetry.Start(t.Context(), telemetry.Config{Service: "x", LogLevel: "loud"})
	require.ErrorContains(t, err, "log level")
	_, _, err = telemetry.Start(t.Context(), telemetry.Config{Service: "x", LogFormat: "xml"})
	require.ErrorContains(t, err, "log format")
}

func TestLoggerWithoutSpanAddsNothing(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log, err := telemetry.NewLogger(&out, telemetry.LogText, "warn")
	require.NoError(t, err)
	log.InfoContext(t.Context(), "too quiet to be seen")
	log.With("a", 1).WithGroup("g").WarnContext(t.Context(), "seen", "b", 2)
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
	require.Contains(t, out.String(), "a=1 g.b=2")
	require.NotContains(t, out.String(), "trace_id")
}

const parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

func TestHeadersCarryTheTrace(t *testing.T) {
	t.Parallel()
	in := []event.Header{{Key: event.HeaderID, Value: []byte("1")}, {Key: "traceparent", Value: []byte(parent)}}
	ctx := telemetry.ExtractContext(t.Context(), in)
	require.Equal(t, "0af7651916cd43dd8448eb211c80319c", telemetry.TraceID(ctx))

	old := []event.Header{{Key: "traceparent", Value: []byte("stale")}, {Key: event.HeaderID, Value: []byte("2")}}
	out := telemetry.InjectHeaders(ctx, old)
	rec := event.Record{Headers: out}
	require.Len(t, out, 2)
	require.Equal(t, parent, rec.Get("traceparent"))
	require.Equal(t, "2", rec.Get(event.HeaderID))
	require.Equal(t, "stale", string(old[0].Value), "the slice given is not changed")
}

func TestHeadersWithoutATrace(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"", "garbage", "00-zz-yy-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01", strings.Repeat("0", 1<<16)} {
		ctx := telemetry.ExtractContext(t.Context(), []event.Header{{Key: "traceparent", Value: []byte(bad)}})
		require.Empty(t, telemetry.TraceID(ctx), "%.40q", bad)
		require.Empty(t, telemetry.InjectHeaders(ctx, nil))
	}
}

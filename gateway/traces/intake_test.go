package traces_test

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	collectorpb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	resourcepb "go.opentelemetry.io/proto/otlp/resource/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/gateway/traces"
	"github.com/larkstream/larkstream/shared/alloctest"
)

func text(s string) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_StringValue{StringValue: s}}
}

func list(v ...*commonpb.AnyValue) *commonpb.AnyValue {
	return &commonpb.AnyValue{Value: &commonpb.AnyValue_ArrayValue{ArrayValue: &commonpb.ArrayValue{Values: v}}}
}

// request is an OTLP request with one good span and one without a proper id.
func request(t *testing.T) []byte {
	t.Helper()
	deep := text("core")
	for range 50 {
		deep = list(deep)
	}
	raw, err := proto.Marshal(&collectorpb.ExportTraceServiceRequest{ResourceSpans: []*tracepb.ResourceSpans{{
		Resource: &resourcepb.Resource{Attributes: []*commonpb.KeyValue{{Key: "service.name", Value: text("llm-svc")}}},
		ScopeSpans: []*tracepb.ScopeSpans{{Spans: []*tracepb.Span{
			{
				TraceId: bytes.Repeat([]byte{1}, 16), SpanId: bytes.Repeat([]byte{2}, 8), Name: "prefill\xff"[:7] + strings.Repeat("é", 4000),
				StartTimeUnixNano: 1, EndTimeUnixNano: 1<<64 - 1, Kind: tracepb.Span_SPAN_KIND_CONSUMER,
				Attributes: []*commonpb.KeyValue{
					{Key: "deep", Value: deep},
					{Key: "empty"},
					{Key: "n", Value: &commonpb.AnyValue{Value: &commonpb.AnyValue_IntValue{IntValue: 7}}},
				},
			},
			{TraceId: []byte{1}, SpanId: []byte{2}, Name: "no ids"},
		}}},
	}}})
	require.NoError(t, err)
	return raw
}

func zipped(t *testing.T, raw []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, err := w.Write(raw)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	return b.Bytes()
}

func post(t *testing.T, store *traces.Store, method, contentType, encoding string, body []byte) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), method, "/v1/traces", bytes.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	r.Header.Set("Content-Encoding", encoding)
	rec := httptest.NewRecorder()
	store.OTLPHandler().ServeHTTP(rec, r)
	return rec
}

const protobuf = "application/x-protobuf"

func TestIntakeStoresSpans(t *testing.T) {
	t.Parallel()
	for encoding, body := range map[string][]byte{"": request(t), "gzip": zipped(t, request(t))} {
		store := traces.New(traces.Limits{})
		rec := post(t, store, http.MethodPost, protobuf, encoding, body)
		require.Equal(t, http.StatusOK, rec.Code, rec.Body.String())
		var resp collectorpb.ExportTraceServiceResponse
		require.NoError(t, proto.Unmarshal(rec.Body.Bytes(), &resp))
		require.EqualValues(t, 1, resp.GetPartialSuccess().GetRejectedSpans())

		spans, _, ok := store.Trace(strings.Repeat("01", 16))
		require.True(t, ok)
		require.Len(t, spans, 1)
		require.Equal(t, "llm-svc", spans[0].Service)
		require.Equal(t, "consumer", spans[0].Kind)
		require.Equal(t, "7", spans[0].Attr("n"))
		require.Equal(t, "[[[[...]]]]", spans[0].Attr("deep"))
		require.Less(t, len(spans[0].Name), 600, "texts are bounded")
		require.Zero(t, spans[0].Duration(), "an end before the start")
	}
}

func TestIntakeRefuses(t *testing.T) {
	t.Parallel()
	bomb := zipped(t, make([]byte, 17<<20)) // 17 kB that become 17 MB
	require.Less(t, len(bomb), 1<<20)
	for name, c := range map[string]struct {
		method, contentType, encoding string
		body                          []byte
		want                          int
	}{
		"method":        {http.MethodGet, protobuf, "", nil, http.StatusMethodNotAllowed},
		"type":          {http.MethodPost, "application/json", "", []byte("{}"), http.StatusUnsupportedMediaType},
		"no type":       {http.MethodPost, "", "", request(t), http.StatusUnsupportedMediaType},
		"encoding":      {http.MethodPost, protobuf, "br", request(t), http.StatusUnsupportedMediaType},
		"garbage":       {http.MethodPost, protobuf, "", []byte("garbage"), http.StatusBadRequest},
		"not gzip":      {http.MethodPost, protobuf, "gzip", request(t), http.StatusBadRequest},
		"cut gzip":      {http.MethodPost, protobuf, "gzip", zipped(t, request(t))[:40], http.StatusBadRequest},
		"large":         {http.MethodPost, protobuf, "", make([]byte, 5<<20), http.StatusRequestEntityTooLarge},
		"gzip bomb":     {http.MethodPost, protobuf, "gzip", bomb, http.StatusRequestEntityTooLarge},
		"large gzipped": {http.MethodPost, protobuf, "gzip", append(zipped(t, nil), make([]byte, 5<<20)...), http.StatusBadRequest},
	} {
		store := traces.New(traces.Limits{})
		rec := post(t, store, c.method, c.contentType, c.encoding, c.body)
		require.Equal(t, c.want, rec.Code, "%s: %s", name, rec.Body.String())
		require.Empty(t, store.List(traces.Query{}), name)
	}
}

func FuzzIntake(f *testing.F) {
	f.Add([]byte("garbage"), false)
	f.Add([]byte{}, true)
	f.Fuzz(func(t *testing.T, body []byte, gzipped bool) {
		store, encoding := traces.New(traces.Limits{Traces: 3, Spans: 10}), ""
		if gzipped {
			encoding = "gzip"
		}
		alloctest.Bound(t, len(body), 32<<20, 200, func() { post(t, store, http.MethodPost, protobuf, encoding, body) })
		for _, s := range store.List(traces.Query{}) {
			rec := get(t, store, "?trace="+s.TraceID)
			require.Equal(t, http.StatusOK, rec.Code)
			rec = get(t, store, "?format=json&trace="+s.TraceID)
			require.Equal(t, http.StatusOK, rec.Code)
		}
	})
}

package telemetry

import (
	"context"
	"crypto/rand"
	"net/http"
	"strings"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/larkstream/larkstream/shared/event"
)

// propagator is W3C trace context alone: baggage from strangers is not carried on.
var propagator = propagation.TraceContext{}

// InjectHeaders returns headers with the trace context of ctx, replacing what was there. The slice
// given is not changed. Without a span in ctx the headers come back as they are.
func InjectHeaders(ctx context.Context, headers []event.Header) []event.Header {
	carrier := propagation.MapCarrier{}
	propagator.Inject(ctx, carrier)
	if len(carrier) == 0 {
		return headers
	}
	out := make([]event.Header, 0, len(headers)+len(carrier))
	for _, h := range headers {
		if h.Key != "traceparent" && h.Key != "tracestate" {
			out = append(out, h)
		}
	}
	for _, key := range propagator.Fields() {
		if v := carrier.Get(key); v != "" {
			out = append(out, event.Header{Key: key, Value: []byte(v)})
		}
	}
	return out
}

// ExtractContext returns ctx with the remote span that the headers name, if they name one.
func ExtractContext(ctx context.Context, headers []event.Header) context.Context {
	carrier := propagation.MapCarrier{}
	for _, h := range headers {
		if h.Key == "traceparent" || h.Key == "tracestate" {
			carrier.Set(h.Key, string(h.Value))
		}
	}
	return propagator.Extract(ctx, carrier)
}

// TraceID returns the hex id of the trace that ctx belongs to, or "".
func TraceID(ctx context.Context) string {
	if sc := trace.SpanContextFromContext(ctx); sc.HasTraceID() {
		return sc.TraceID().String()
	}
	return ""
}

// ContinueTrace returns ctx within the trace of that hex id, for work that is done on a job long after the span that began it. ctx comes back
// as it is when the id is none.
func ContinueTrace(ctx context.Context, traceID string) context.Context {
	id, err := trace.TraceIDFromHex(traceID)
	if err != nil {
		return ctx
	}
	var parent trace.SpanID
	_, _ = rand.Read(parent[:]) // never fails
	return trace.ContextWithRemoteSpanContext(ctx, trace.NewSpanContext(trace.SpanContextConfig{
		TraceID: id, SpanID: parent, TraceFlags: trace.FlagsSampled, Remote: true,
	}))
}

// Tracer returns the tracer of this system from the global provider.
func Tracer() trace.Tracer { return otel.Tracer(ScopeName) }

// End ends a span, marking it as failed when err is not nil.
func End(span trace.Span, err error) {
	Mark(span, err)
	span.End()
}

// Mark marks a span as failed when err is not nil, and leaves its end to the caller.
func Mark(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
}

// HTTPHandler measures all requests to next. It traces only requests that change something, because the traces of pollers and open streams
// would bury the traces of jobs. A span is named after its route. The callers are strangers: each request begins a trace of its own, which
// links to the span that the caller names, so that nobody can add to the trace of another job or choose what is sampled.
func HTTPHandler(next http.Handler) http.Handler {
	named := otelhttp.WithSpanNameFormatter(spanName)
	traced := otelhttp.NewHandler(routed(next), "http", named, otelhttp.WithPublicEndpointFn(func(*http.Request) bool { return true }))
	measured := otelhttp.NewHandler(next, "http", named, otelhttp.WithTracerProvider(noop.NewTracerProvider()),
		otelhttp.WithPropagators(propagation.NewCompositeTextMapPropagator()))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions {
			measured.ServeHTTP(w, r)
			return
		}
		traced.ServeHTTP(w, r)
	})
}

// routed notes the route on the span once next has found it: when the span begins, only the route of the outer mux is known.
func routed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer noteRoute(trace.SpanFromContext(r.Context()), r)
		next.ServeHTTP(w, r)
	})
}

func noteRoute(span trace.Span, r *http.Request) {
	if _, path, ok := strings.Cut(r.Pattern, "/"); ok {
		span.SetAttributes(AttrHTTPRoute.String("/" + path))
	}
}

// spanName is the method and the route's pattern, which may name the method itself.
func spanName(_ string, r *http.Request) string {
	if strings.HasPrefix(r.Pattern, r.Method) {
		return r.Pattern
	}
	return strings.TrimSpace(r.Method + " " + r.Pattern)
}

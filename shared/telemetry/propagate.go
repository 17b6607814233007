package telemetry

import (
	"context"
	"net/http"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

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

// Tracer returns the tracer of this system from the global provider.
func Tracer() trace.Tracer { return otel.Tracer(ScopeName) }

// End ends a span, marking it as failed when err is not nil.
func End(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
	span.End()
}

// HTTPHandler traces requests to next. The span is named after the route that served it.
func HTTPHandler(next http.Handler) http.Handler {
	return otelhttp.NewHandler(next, "http", otelhttp.WithSpanNameFormatter(func(_ string, r *http.Request) string {
		if r.Pattern != "" {
			return r.Pattern
		}
		return r.Method
	}))
}

// HTTPTransport traces outgoing requests and passes the trace context on.
func HTTPTransport(next http.RoundTripper) http.RoundTripper { return otelhttp.NewTransport(next) }

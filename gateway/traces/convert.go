package traces

import (
	"encoding/hex"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
)

// fromSDK copies a span of this process.
func fromSDK(s sdktrace.ReadOnlySpan) Span {
	out := Span{
		TraceID: s.SpanContext().TraceID().String(), SpanID: s.SpanContext().SpanID().String(),
		Name: cut(s.Name()), Kind: s.SpanKind().String(), Start: s.StartTime(), End: s.EndTime(),
		Failed: s.Status().Code == codes.Error, Message: cut(s.Status().Description),
		Attrs: sdkAttrs(s.Attributes()),
	}
	if s.Parent().HasSpanID() {
		out.ParentID = s.Parent().SpanID().String()
	}
	if v, ok := s.Resource().Set().Value(semconv.ServiceNameKey); ok {
		out.Service = cut(v.String())
	}
	for _, e := range s.Events()[:min(len(s.Events()), maxSpanEvents)] {
		out.Events = append(out.Events, SpanEvent{Name: cut(e.Name), Time: e.Time, Attrs: sdkAttrs(e.Attributes)})
	}
	for _, l := range s.Links()[:min(len(s.Links()), maxSpanLinks)] {
		out.Links = append(out.Links, Link{TraceID: l.SpanContext.TraceID().String(), SpanID: l.SpanContext.SpanID().String()})
	}
	return out
}

func sdkAttrs(in []attribute.KeyValue) []Attr {
	out := make([]Attr, 0, min(len(in), maxSpanAttrs))
	for _, kv := range in[:min(len(in), maxSpanAttrs)] {
		out = append(out, Attr{Key: cut(string(kv.Key)), Value: cut(kv.Value.String())})
	}
	return out
}

// fromOTLP copies the spans of a request from another process, leaving out those without proper ids.
func fromOTLP(resources []*tracepb.ResourceSpans) (spans []Span, rejected int) {
	for _, rs := range resources {
		service := "unknown"
		for _, kv := range rs.GetResource().GetAttributes() {
			if kv.GetKey() == string(semconv.ServiceNameKey) {
				service = cut(anyText(kv.GetValue(), 0))
			}
		}
		for _, ss := range rs.GetScopeSpans() {
			for _, s := range ss.GetSpans() {
				if len(s.GetTraceId()) != 16 || len(s.GetSpanId()) != 8 {
					rejected++
					continue
				}
				spans = append(spans, otlpSpan(service, s))
			}
		}
	}
	return spans, rejected
}

func otlpSpan(service string, s *tracepb.Span) Span {
	out := Span{
		TraceID: hex.EncodeToString(s.GetTraceId()), SpanID: hex.EncodeToString(s.GetSpanId()),
		Service: service, Name: cut(s.GetName()), Kind: strings.ToLower(strings.TrimPrefix(s.GetKind().String(), "SPAN_KIND_")),
		Start: unixNano(s.GetStartTimeUnixNano()), End: unixNano(s.GetEndTimeUnixNano()),
		Failed:  s.GetStatus().GetCode() == tracepb.Status_STATUS_CODE_ERROR,
		Message: cut(s.GetStatus().GetMessage()), Attrs: otlpAttrs(s.GetAttributes()),
	}
	if len(s.GetParentSpanId()) == 8 {
		out.ParentID = hex.EncodeToString(s.GetParentSpanId())
	}
	for _, e := range s.GetEvents()[:min(len(s.GetEvents()), maxSpanEvents)] {
		out.Events = append(out.Events, SpanEvent{
			Name: cut(e.GetName()), Time: unixNano(e.GetTimeUnixNano()), Attrs: otlpAttrs(e.GetAttributes()),
		})
	}
	for _, l := range s.GetLinks()[:min(len(s.GetLinks()), maxSpanLinks)] {
		if len(l.GetTraceId()) == 16 && len(l.GetSpanId()) == 8 {
			out.Links = append(out.Links, Link{TraceID: hex.EncodeToString(l.GetTraceId()), SpanID: hex.EncodeToString(l.GetSpanId())})
		}
	}
	return out
}

func otlpAttrs(in []*commonpb.KeyValue) []Attr {
	out := make([]Attr, 0, min(len(in), maxSpanAttrs))
	for _, kv := range in[:min(len(in), maxSpanAttrs)] {
		out = append(out, Attr{Key: cut(kv.GetKey()), Value: cut(anyText(kv.GetValue(), 0))})
	}
	return out
}

// anyText prints a value; nested lists are followed for a few levels only.
func anyText(v *commonpb.AnyValue, depth int) string {
	switch v := v.GetValue().(type) {
	case *commonpb.AnyValue_StringValue:
		return v.StringValue
	case *commonpb.AnyValue_BoolValue:
		return strconv.FormatBool(v.BoolValue)
	case *commonpb.AnyValue_IntValue:
		return strconv.FormatInt(v.IntValue, 10)
	case *commonpb.AnyValue_DoubleValue:
		return strconv.FormatFloat(v.DoubleValue, 'g', -1, 64)
	case *commonpb.AnyValue_ArrayValue:
		return listText(v.ArrayValue.GetValues(), depth)
	case *commonpb.AnyValue_BytesValue:
		return strconv.Itoa(len(v.BytesValue)) + " bytes"
	case *commonpb.AnyValue_KvlistValue:
		return strconv.Itoa(len(v.KvlistValue.GetValues())) + " keys"
	}
	return ""
}

func listText(values []*commonpb.AnyValue, depth int) string {
	if depth >= 3 {
		return "[...]"
	}
	var b strings.Builder
	b.WriteByte('[')
	for i, v := range values {
		if b.Len() > maxSpanText {
			break
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(anyText(v, depth+1))
	}
	b.WriteByte(']')
	return b.String()
}

// unixNano is a time in UTC; values beyond int64 (the year 2262) become the epoch.
func unixNano(ns uint64) time.Time {
	if ns > 1<<63-1 {
		ns = 0
	}
	return time.Unix(0, int64(ns)).UTC()
}

// cut bounds a text and makes it valid UTF-8.
func cut(s string) string {
	if len(s) > maxSpanText {
		n := maxSpanText
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "..."
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

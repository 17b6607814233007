package telemetry

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math/rand/v2"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"

	"github.com/larkstream/larkstream/shared/event"
)

// traceIDKey is the context key of the trace id that the next span without a parent takes.
type traceIDKey struct{}

// JobTrace returns ctx with the trace of the job, unless ctx has a trace already. It is for records that came without one, as jobs come from
// producers that do not trace: the trace id follows from the job id, so that everyone who reads such a record is in the same trace.
func JobTrace(ctx context.Context, jobID string) context.Context {
	if jobID == "" || trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	sum := sha256.Sum256([]byte("lark.job/" + jobID))
	return context.WithValue(ctx, traceIDKey{}, trace.TraceID(sum[:16]))
}

// Branch begins a trace of its own for one record that is to be sent, with a link to the span of ctx. It is for a record with so many
// siblings that one trace of all their ways would be too large to look at. The caller ends the span once the record is acknowledged.
func Branch(ctx context.Context, rec event.Record, attributes ...attribute.KeyValue) (event.Record, trace.Span) {
	from := trace.LinkFromContext(ctx)
	ctx = context.WithValue(ctx, traceIDKey{}, trace.TraceID{})
	ctx, span := startSend(ctx, rec.Topic, trace.WithNewRoot(), trace.WithLinks(from), trace.WithAttributes(attributes...))
	rec.Headers = InjectHeaders(ctx, rec.Headers)
	return rec, span
}

// Send begins the span that sends records to a topic, within the trace of ctx. Whoever handles one of the records is its child, so that the time between
// the end of the one and the start of the other is what the record waited in Kafka. The caller ends the span once the records are acknowledged.
func Send(ctx context.Context, topic string, records int, attributes ...attribute.KeyValue) (context.Context, trace.Span) {
	if records > 1 {
		attributes = append(attributes, AttrMessagingBatch.Int(records))
	}
	return startSend(ctx, topic, trace.WithAttributes(attributes...))
}

func startSend(ctx context.Context, topic string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	options = append(options, trace.WithSpanKind(trace.SpanKindProducer), trace.WithAttributes(
		AttrMessagingSystem.String(MessagingKafka), AttrMessagingDestination.String(topic),
		AttrMessagingOperation.String(MessagingSend), AttrMessagingType.String(MessagingSend)))
	return Tracer().Start(ctx, SpanSend+topic, options...) //nolint:spancheck // the caller ends it
}

// ids makes the ids of spans and traces at random, except where JobTrace has named the trace.
type ids struct{}

var _ sdktrace.IDGenerator = ids{}

// NewIDs is called for a span without a parent.
func (g ids) NewIDs(ctx context.Context) (trace.TraceID, trace.SpanID) {
	id, _ := ctx.Value(traceIDKey{}).(trace.TraceID)
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:8], rand.Uint64()) //nolint:gosec // ids need no secrecy
		binary.NativeEndian.PutUint64(id[8:], rand.Uint64()) //nolint:gosec // ids need no secrecy
	}
	return id, g.NewSpanID(ctx, id)
}

// NewSpanID is called for a span with a parent.
func (ids) NewSpanID(context.Context, trace.TraceID) (id trace.SpanID) {
	for !id.IsValid() {
		binary.NativeEndian.PutUint64(id[:], rand.Uint64()) //nolint:gosec // ids need no secrecy
	}
	return id
}

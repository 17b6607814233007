package stage

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/telemetry"
)

const (
	publishBackoff = 100 * time.Millisecond
	publishMaxWait = 5 * time.Second
)

// Publisher writes records. Publish returns nil once all records are acknowledged. After a *kafka.Unacknowledged the runner
// publishes the failed records again, after any other error all of them, unless the error wraps kafka.ErrTooLarge.
// *kafka.Producer is a Publisher.
type Publisher interface {
	Publish(ctx context.Context, recs ...event.Record) error
}

var _ Publisher = (*kafka.Producer)(nil)

// persistentPublisher publishes what a stage writes, again and again until it is acknowledged.
type persistentPublisher struct {
	stage   string
	out     Publisher
	chance  chance
	log     *slog.Logger
	metrics *telemetry.StageMetrics
}

// maxTraced is how many records of work may come of one record in the trace of that record. With more, each begins a trace of its own, which
// is linked with it: one trace of a job of 80 windows would have about a thousand spans.
const maxTraced = 16

// fanOut publishes what came of one record.
func (p *persistentPublisher) fanOut(ctx context.Context, recs []event.Record, job string) error {
	work := 0
	for _, rec := range recs {
		if event.StageOf(rec.Topic) != "" {
			work++
		}
	}
	if work <= maxTraced {
		return p.publish(ctx, recs)
	}
	here := trace.SpanFromContext(ctx)
	here.SetAttributes(telemetry.AttrBranches.Int(work))
	var rest []event.Record
	branches := make([]event.Record, 0, work)
	for _, rec := range recs {
		if event.StageOf(rec.Topic) == "" {
			rest = append(rest, rec)
			continue
		}
		branch, span := telemetry.Branch(ctx, rec, telemetry.AttrStage.String(p.stage), telemetry.AttrJobID.String(job))
		defer span.End()
		here.AddLink(trace.Link{SpanContext: span.SpanContext()})
		branches = append(branches, branch)
	}
	traced, end := p.traced(ctx, rest)
	err := p.send(ctx, append(traced, branches...))
	end(err)
	return err
}

// publish writes the records in the trace of ctx, trying again for as long as ctx lives. Its error means that
// ctx has ended, or wraps kafka.ErrTooLarge.
func (p *persistentPublisher) publish(ctx context.Context, recs []event.Record) error {
	traced, end := p.traced(ctx, recs)
	err := p.send(ctx, traced)
	end(err)
	return err
}

// traced gives the records a trace context of a span for each of their topics: one span of a topic however many records, so that sending adds
// little to a trace.
func (p *persistentPublisher) traced(ctx context.Context, recs []event.Record) (traced []event.Record, end func(error)) {
	count := map[string]int{}
	for _, rec := range recs {
		count[rec.Topic]++
	}
	sends := map[string]context.Context{}
	traced = make([]event.Record, len(recs))
	for i, rec := range recs {
		sendCtx, begun := sends[rec.Topic] //nolint:contextcheck // each of them is made of ctx
		if !begun {
			sendCtx, _ = telemetry.Send(ctx, rec.Topic, count[rec.Topic], telemetry.AttrStage.String(p.stage))
			sends[rec.Topic] = sendCtx
		}
		rec.Headers = telemetry.InjectHeaders(sendCtx, rec.Headers)
		traced[i] = rec
	}
	return traced, func(err error) {
		for _, sendCtx := range sends {
			telemetry.End(trace.SpanFromContext(sendCtx), err)
		}
	}
}

// send is publish for records that have their trace context.
func (p *persistentPublisher) send(ctx context.Context, traced []event.Record) error {
	if len(traced) == 0 {
		return ctx.Err()
	}
	for n := 1; ; n++ {
		err := p.out.Publish(ctx, traced...)
		written, left := split(traced, err)
		for _, rec := range written {
			p.metrics.Published(ctx, p.stage, rec.Topic, 1)
		}
		if err == nil {
			return nil
		}
		traced = left
		if ctx.Err() != nil || errors.Is(err, kafka.ErrTooLarge) {
			return err
		}
		p.log.WarnContext(ctx, "publishing, trying again", "records", len(traced), "error", err)
		if !p.pause(ctx, n) {
			return ctx.Err()
		}
	}
}

// split parts the records by what the error of their Publish says: which are written, and which must be sent again.
func split(recs []event.Record, err error) (written, left []event.Record) {
	if err == nil {
		return recs, nil
	}
	var partly *kafka.Unacknowledged
	if !errors.As(err, &partly) {
		return nil, recs
	}
	failed := partly.Failed
	for i, rec := range recs {
		if len(failed) > 0 && failed[0] == i {
			left, failed = append(left, rec), failed[1:]
			continue
		}
		written = append(written, rec)
	}
	return written, left
}

// pause waits before attempt n+1; false when ctx ends first.
func (p *persistentPublisher) pause(ctx context.Context, n int) bool {
	return waitFor(ctx, min(p.chance.backoff(publishBackoff, n), publishMaxWait))
}

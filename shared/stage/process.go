package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"strconv"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// processor runs the handler on admitted records, again in place while that may help, and has each record settled.
type processor struct {
	stage, group string
	backoff      time.Duration
	timeout      time.Duration // of one attempt
	handler      Handler
	slots        *gate    // handlers that may run
	concurrency  int64    // how many those are
	control      *Control // may be nil
	late         bool     // handles records past their deadline
	settler      *settler
	events       emitter // nil if nobody is told
	breaker      *breaker
	log          *slog.Logger
	metrics      *telemetry.StageMetrics
}

// process brings one record to its end: done, put on a retry topic, or dead. It returns without an
// end only when the partition stops.
func (p *processor) process(t *task) {
	begun := time.Now()
	ctx := telemetry.JobTrace(telemetry.ExtractContext(t.part.hard, t.meta.rec.Headers), t.job())
	ctx, span := telemetry.Tracer().Start(ctx, telemetry.SpanProcess+t.part.topic, p.spanOptions(t, begun)...)
	defer span.End()
	p.metrics.Waited(ctx, p.stage, t.part.topic, t.waited(begun))
	for n := 1; ; n++ {
		v := p.attempt(ctx, t, n)
		if v.down {
			span.AddEvent("stage paused", trace.WithAttributes(telemetry.AttrReason.String(boundError(v.err))))
			p.tellWaiting(ctx, t)
			p.breaker.othersFareWell(t)
			p.breaker.trip(ctx, v.err)
			continue
		}
		if v.again {
			p.metrics.Retried(ctx, p.stage, telemetry.RetryInPlace)
			span.AddEvent("retry", trace.WithAttributes(telemetry.AttrAttempt.Int(n)))
			if !waitFor(t.part.stop, p.settler.chance.backoff(p.backoff, n)) {
				return
			}
			continue
		}
		if v.result == "" {
			span.SetStatus(codes.Error, "abandoned")
			return
		}
		if v.err != nil {
			span.RecordError(v.err)
			span.SetStatus(codes.Error, boundError(v.err))
		}
		span.SetAttributes(telemetry.AttrResult.String(v.result))
		p.metrics.Handled(ctx, p.stage, t.part.topic, v.result, time.Since(begun))
		return
	}
}

func (p *processor) spanOptions(t *task, now time.Time) []trace.SpanStartOption {
	attributes := []attribute.KeyValue{
		telemetry.AttrStage.String(p.stage),
		telemetry.AttrLane.String(t.part.lane),
		telemetry.AttrMessagingSystem.String(telemetry.MessagingKafka),
		telemetry.AttrMessagingOperation.String(telemetry.MessagingHandle),
		telemetry.AttrMessagingType.String(telemetry.MessagingHandle),
		telemetry.AttrMessagingDestination.String(t.part.topic),
		telemetry.AttrMessagingPartition.String(strconv.Itoa(int(t.part.id))),
		telemetry.AttrMessagingOffset.Int64(t.rec.Offset),
		telemetry.AttrMessagingGroup.String(p.group),
		telemetry.AttrWait.Float64(t.waited(now).Seconds()),
		telemetry.AttrAttempt.Int(t.meta.attempt),
	}
	if job := t.job(); job != "" {
		attributes = append(attributes, telemetry.AttrJobID.String(job))
	}
	return []trace.SpanStartOption{trace.WithSpanKind(trace.SpanKindConsumer), trace.WithAttributes(attributes...)}
}

// attempt handles the record once and settles it, unless it is to be tried again in place.
func (p *processor) attempt(ctx context.Context, t *task, n int) verdict {
	handlerCtx, cancel := p.handlerContext(ctx, t)
	defer cancel()
	waitCtx, begun := p.startContext(handlerCtx, t, n)
	probe, slot, ok := p.slot(waitCtx, t)
	begun()
	if !ok {
		return verdict{}
	}
	defer slot.release()
	if !t.part.begin() {
		p.breaker.report(ctx, probe, ErrRevoked)
		return verdict{}
	}
	defer t.part.end()

	if t.meta.err != nil {
		p.breaker.report(ctx, probe, t.meta.err)
		slot.release()
		return p.settler.refuse(ctx, t, t.meta.err)
	}
	if waitCtx != handlerCtx && errors.Is(context.Cause(waitCtx), ErrExpired) {
		p.breaker.report(ctx, probe, ErrExpired)
		slot.release()
		return p.settler.endJob(ctx, t, event.CodeExpired, ErrExpired)
	}
	if t.part.guard.crashed(t.rec.Offset, copyID(t.meta.rec)) || (t.meta.noRetry && t.part.guard.alone(t.rec.Offset)) {
		p.breaker.report(ctx, probe, errCrashed)
		slot.release()
		return p.settler.bury(ctx, t, event.CodeCrashedStage, errCrashed)
	}
	outputs, err := p.guarded(context.WithValue(handlerCtx, placeKey{}, slot), t)
	p.breaker.report(ctx, probe, err)
	slot.release() // publishing one record may overlap the work on the next
	return p.settler.settle(ctx, handlerCtx, t, n, outputs, err)
}

// slot waits until the stage is not paused and has a free handler; false when the partition stops first. A record whose job has
// ended needs neither: its outcome must not wait for other records' work.
func (p *processor) slot(handlerCtx context.Context, t *task) (probe bool, slot *place, ok bool) {
	ctx, cancel := context.WithCancel(handlerCtx)
	defer cancel()
	defer context.AfterFunc(t.part.stop, cancel)() //nolint:contextcheck // a second life to watch beside handlerCtx
	probe, ok = p.breaker.pass(ctx)
	slot = &place{gate: p.slots, of: t.owner(), places: 1}
	if t.part.guard.alone(t.rec.Offset) { // it may have killed the stage: nothing else shall die with it
		slot.places, slot.alone = p.concurrency, true
	}
	if ok && p.slots.acquire(ctx, slot.of, slot.places) == nil {
		return probe, slot, true
	}
	slot.given = true
	if ok {
		p.breaker.report(ctx, probe, context.Cause(ctx))
	}
	_, ended := endOf(context.Cause(handlerCtx))
	return false, slot, ended && t.part.stop.Err() == nil
}

// handlerContext ends with ErrCancelled or ErrExpired as its cause when the job does.
func (p *processor) handlerContext(ctx context.Context, t *task) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stopTimer := func() {}
	if !t.meta.deadline.IsZero() && !p.late {
		ctx, stopTimer = context.WithDeadlineCause(ctx, t.meta.deadline, ErrExpired)
	}
	unwatch := p.control.watch(t.meta.job, cancel)
	return ctx, func() {
		unwatch()
		stopTimer()
		cancel(nil)
	}
}

// startContext ends with ErrExpired as its cause when the job must have begun, for as long as the record waits for its first attempt. begun ends the wait.
func (p *processor) startContext(ctx context.Context, t *task, n int) (waitCtx context.Context, begun func()) {
	if t.meta.startBy.IsZero() || p.late || n > 1 || t.meta.attempt > 0 {
		return ctx, func() {}
	}
	waitCtx, cancel := context.WithDeadlineCause(ctx, t.meta.startBy, ErrExpired)
	return waitCtx, cancel
}

// guarded calls the handler between the marks that tell after a death what was in hand.
func (p *processor) guarded(ctx context.Context, t *task) ([]event.Record, error) {
	if !t.part.guard.begin(ctx, t.rec.Offset, copyID(t.meta.rec)) {
		return nil, context.Cause(ctx)
	}
	defer t.part.guard.finish(context.WithoutCancel(ctx), t.rec.Offset)
	return p.handle(ctx, t)
}

// handle calls the handler unless the job has ended already. A panic is a permanent error: one bad
// record must not take the stage down.
func (p *processor) handle(ctx context.Context, t *task) (outputs []event.Record, err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	defer func() {
		if v := recover(); v != nil {
			p.log.ErrorContext(ctx, "handler panicked", "topic", t.part.topic, "partition", t.part.id,
				"offset", t.rec.Offset, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			outputs, err = nil, Permanent(event.CodeInternal, errors.New("internal error: the stage panicked"))
		}
	}()
	msg, err := t.meta.take()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeoutCause(ctx, p.timeout, ErrTimedOut)
	defer cancel()
	outputs, err = p.handler(ctx, t.meta.rec, msg)
	if err != nil && errors.Is(context.Cause(ctx), ErrTimedOut) {
		err = Coded(event.CodeTimeout, fmt.Errorf("%w: an attempt may take %s (handler_timeout): %w", ErrTimedOut, p.timeout, err))
	}
	return outputs, err
}

package stage

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// meta is what the runner itself reads of a record.
type meta struct {
	rec      event.Record // as the handler sees it
	job      string
	deadline time.Time // zero for none
	attempt  int       // delayed retries counted so far
	due      time.Time // when a record of a retry topic may be handled
	err      error     // why it cannot be decoded
}

func (r *Runner) newTask(p *partition, rec *kgo.Record) *task {
	t := &task{part: p, rec: rec, meta: r.read(rec)}
	cost := int64(recordBytes(rec))
	if r.deps.Cost != nil {
		cost = r.deps.Cost(t.meta.rec)
	}
	t.cost = min(max(cost, 1), r.cfg.MaxInFlightBytes)
	return t
}

func (r *Runner) read(rec *kgo.Record) meta {
	m := meta{rec: kafka.FromClient(rec)}
	if delay, retried := r.delays[rec.Topic]; retried {
		m.attempt = attemptOf(m.rec)
		m.due = dueOf(m.rec, delay)
		if origin := m.rec.Get(event.HeaderOriginTopic); r.origin[origin] {
			m.rec.Topic = origin
		}
	}
	msg, err := event.Decode(m.rec)
	if err != nil {
		m.err = err
		return m
	}
	m.job, m.deadline = jobOf(msg)
	return m
}

func jobOf(msg proto.Message) (job string, deadline time.Time) {
	if j, ok := msg.(*eventpb.Job); ok {
		return j.GetJobId(), deadlineAt(j.GetDeadlineUnixMs())
	}
	if w, ok := msg.(interface{ GetTask() *eventpb.Task }); ok {
		return w.GetTask().GetJobId(), deadlineAt(w.GetTask().GetDeadlineUnixMs())
	}
	return "", time.Time{}
}

func deadlineAt(unixMs int64) time.Time {
	if unixMs <= 0 {
		return time.Time{}
	}
	return time.UnixMilli(unixMs)
}

// waitDue holds a record of a retry topic until it is due, or until its job ends before that; false
// when the partition stops.
func (r *Runner) waitDue(t *task) bool {
	due := t.meta.due
	if d := t.meta.deadline; !d.IsZero() && d.Before(due) {
		due = d
	}
	wait := time.Until(due)
	if wait <= 0 {
		return true
	}
	ctx, cancel := context.WithCancelCause(t.part.stop)
	defer cancel(nil)
	defer r.watch(t.meta.job, cancel)()
	waitFor(ctx, wait)
	return t.part.stop.Err() == nil
}

func (r *Runner) watch(job string, cancel context.CancelCauseFunc) (unwatch func()) {
	if r.deps.Control == nil || job == "" {
		return func() {}
	}
	return r.deps.Control.watch(job, cancel)
}

// verdict is what becomes of a record after an attempt.
type verdict struct {
	result string // one of telemetry's Result values; "" = abandoned, the record comes again
	again  bool   // another attempt in place
	err    error
}

// process brings one record to its end: done, put on a retry topic, or dead. It returns without an
// end only when the partition stops.
func (r *Runner) process(t *task) {
	ctx := telemetry.ExtractContext(t.part.hard, t.meta.rec.Headers)
	ctx, span := telemetry.Tracer().Start(ctx, telemetry.SpanProcess+t.part.topic, r.spanOptions(t)...)
	defer span.End()
	begun := time.Now()
	if age := begun.Sub(t.rec.Timestamp); !t.rec.Timestamp.IsZero() {
		r.metrics.Lag(ctx, r.cfg.Stage, t.part.topic, age)
	}
	for n := 1; ; n++ {
		v := r.attempt(ctx, t, n)
		if v.again {
			r.metrics.Retried(ctx, r.cfg.Stage, telemetry.RetryInPlace)
			span.AddEvent("retry", trace.WithAttributes(telemetry.AttrAttempt.Int(n)))
			if !waitFor(t.part.stop, backoff(r.cfg.Backoff, n)) {
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
		r.metrics.Handled(ctx, r.cfg.Stage, t.part.topic, v.result, time.Since(begun))
		return
	}
}

func (r *Runner) spanOptions(t *task) []trace.SpanStartOption {
	return []trace.SpanStartOption{
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(
			telemetry.AttrStage.String(r.cfg.Stage),
			telemetry.AttrMessagingSystem.String(telemetry.MessagingKafka),
			telemetry.AttrMessagingDestination.String(t.part.topic),
			telemetry.AttrMessagingPartition.Int(int(t.part.id)),
			telemetry.AttrMessagingOffset.Int64(t.rec.Offset),
			telemetry.AttrMessagingGroup.String(r.cfg.Group),
			telemetry.AttrJobID.String(t.meta.job),
			telemetry.AttrAttempt.Int(t.meta.attempt),
		),
	}
}

// attempt handles the record once and settles it, unless it is to be tried again in place.
func (r *Runner) attempt(ctx context.Context, t *task, n int) verdict {
	handlerCtx, cancel := r.handlerContext(ctx, t)
	defer cancel()
	release, ok := r.slot(handlerCtx, t)
	if !ok {
		return verdict{}
	}
	defer release()
	if !t.part.begin() {
		return verdict{}
	}
	defer t.part.end()

	if t.meta.err != nil {
		release()
		return r.bury(ctx, t, ReasonUndecodable, t.meta.err)
	}
	outputs, err := r.handle(handlerCtx, t)
	release() // publishing one record may overlap the work on the next
	return r.settle(ctx, handlerCtx, t, n, outputs, err)
}

// slot waits for the right to run a handler; false when the partition stops first. A record whose
// job has ended needs none: its outcome must not wait for other records' work.
func (r *Runner) slot(handlerCtx context.Context, t *task) (release func(), ok bool) {
	ctx, cancel := context.WithCancel(handlerCtx)
	defer cancel()
	defer context.AfterFunc(t.part.stop, cancel)() //nolint:contextcheck // a second life to watch beside handlerCtx
	if r.slots.Acquire(ctx, 1) != nil {
		_, ended := endOf(context.Cause(handlerCtx))
		return func() {}, ended && t.part.stop.Err() == nil
	}
	return sync.OnceFunc(func() { r.slots.Release(1) }), true
}

// handlerContext ends with ErrCancelled or ErrExpired as its cause when the job does.
func (r *Runner) handlerContext(ctx context.Context, t *task) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	stopTimer := func() {}
	if !t.meta.deadline.IsZero() {
		ctx, stopTimer = context.WithDeadlineCause(ctx, t.meta.deadline, ErrExpired)
	}
	unwatch := r.watch(t.meta.job, cancel)
	return ctx, func() {
		unwatch()
		stopTimer()
		cancel(nil)
	}
}

// handle calls the handler unless the job has ended already. A panic is a permanent error: one bad
// record must not take the stage down.
func (r *Runner) handle(ctx context.Context, t *task) (outputs []event.Record, err error) {
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	defer func() {
		if v := recover(); v != nil {
			r.log.ErrorContext(ctx, "handler panicked", "topic", t.part.topic, "partition", t.part.id,
				"offset", t.rec.Offset, "panic", fmt.Sprint(v), "stack", string(debug.Stack()))
			outputs, err = nil, Permanent(event.CodeInternal, errors.New("internal error: the stage panicked"))
		}
	}()
	return r.deps.Handle(ctx, t.meta.rec)
}

// settle decides by the handler's error. ctx carries the span; handlerCtx tells why it was stopped.
func (r *Runner) settle(ctx, handlerCtx context.Context, t *task, n int, outputs []event.Record, err error) verdict {
	if err == nil {
		return r.complete(ctx, t, outputs)
	}
	if abandoned(handlerCtx) {
		return verdict{}
	}
	if code, ended := endOf(context.Cause(handlerCtx)); ended {
		return r.endJob(ctx, t, code, context.Cause(handlerCtx))
	}
	var later *laterError
	var permanent *permanentError
	switch {
	case errors.Is(err, event.ErrUndecodable):
		return r.bury(ctx, t, ReasonUndecodable, err)
	case errors.As(err, &permanent):
		return r.bury(ctx, t, permanent.code, err)
	case errors.As(err, &later):
		return r.putBack(ctx, t, later.after)
	case n < r.cfg.Attempts:
		return verdict{again: true, err: err}
	case t.meta.attempt < len(r.cfg.RetryDelays):
		return r.retryLater(ctx, t, err)
	}
	return r.bury(ctx, t, codeOf(err), err)
}

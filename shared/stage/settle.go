package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// minLater keeps Later(0) from going round without rest.
const minLater = 100 * time.Millisecond

// settler brings a handled record to its end: it publishes what the handler's error asks for (outputs, a retry, a dead
// letter with failed outcomes), and only then lets the record be committed.
type settler struct {
	stage    string
	model    string // stands in failed outcomes
	attempts int    // in place
	retries  retryTopics
	chance   chance
	out      *persistentPublisher
	log      *slog.Logger
	metrics  *telemetry.StageMetrics
}

// verdict is what becomes of a record after an attempt.
type verdict struct {
	result string // one of telemetry's Result values; "" = abandoned, the record comes again
	again  bool   // another attempt in place
	down   bool   // another attempt once what the stage needs answers again
	err    error
}

// settle decides by the error of attempt n (from 1). ctx carries the span and lives as long as the partition; handlerCtx
// tells why the handler was stopped, if it was.
func (s *settler) settle(ctx, handlerCtx context.Context, t *task, n int, outputs []event.Record, err error) verdict {
	if err == nil {
		return s.complete(ctx, t, outputs)
	}
	if abandoned(handlerCtx) {
		return verdict{}
	}
	if code, ended := endOf(context.Cause(handlerCtx)); ended {
		return s.endJob(ctx, t, code, context.Cause(handlerCtx))
	}
	var later *laterError
	var permanent *permanentError
	switch {
	case errors.Is(err, event.ErrUndecodable):
		return s.refuse(ctx, t, err)
	case errors.As(err, &permanent):
		return s.bury(ctx, t, permanent.code, err)
	case errors.As(err, &later):
		return s.putBack(ctx, t, later)
	case t.meta.noRetry:
		return s.bury(ctx, t, codeOf(err), err)
	case n < s.attempts:
		return verdict{again: true, err: err}
	case unavailable(err) && t.downs < maxDowns:
		return verdict{down: true, err: err}
	case t.meta.attempt < len(s.retries.delays):
		return s.retryLater(ctx, t, err)
	}
	return s.bury(ctx, t, codeOf(err), err)
}

// complete publishes the outputs and finishes the record.
func (s *settler) complete(ctx context.Context, t *task, outputs []event.Record) verdict {
	err := s.out.fanOut(ctx, t.owned(redriven(t.meta.rec, outputs)), t.job())
	if errors.Is(err, kafka.ErrTooLarge) {
		return s.bury(ctx, t, event.CodeInternal, err)
	}
	return s.done(t, telemetry.ResultOK, nil, err)
}

// redriven has the work that came of a dead letter that was sent back keep the count of it: a window that is given up in one stage after another
// is sent back no more often than one that is given up in the same stage each time.
func redriven(from event.Record, outputs []event.Record) []event.Record {
	count := from.Get(event.HeaderRedriven)
	if count == "" {
		return outputs
	}
	for i, rec := range outputs {
		if event.StageOf(rec.Topic) != "" {
			outputs[i] = rec.With(event.HeaderRedriven, count)
		}
	}
	return outputs
}

// done finishes the record if its publishing succeeded; if not, the partition is stopping.
func (s *settler) done(t *task, result string, cause, publishErr error) verdict {
	if publishErr != nil {
		return verdict{}
	}
	t.part.offsets.finish(t)
	return verdict{result: result, err: cause}
}

// endJob writes the outcomes of a job that was cancelled or has expired.
func (s *settler) endJob(ctx context.Context, t *task, code string, cause error) verdict {
	outcomes := s.outcomes(ctx, t, code, cause)
	result := telemetry.ResultCancelled
	if code == event.CodeExpired {
		result = telemetry.ResultExpired
	}
	return s.done(t, result, nil, s.out.publish(ctx, outcomes))
}

// refuse ends a record that this version cannot handle. A newer version's record waits for an instance of that version: in a
// roll-out there is one, or will be.
func (s *settler) refuse(ctx context.Context, t *task, cause error) verdict {
	var later *laterError
	switch {
	case errors.Is(cause, event.ErrNewer):
		cause = elsewhere(t.meta.rec, event.CodeNewerVersion, cause)
		if errors.As(cause, &later) {
			return s.putBack(ctx, t, later)
		}
		return s.bury(ctx, t, event.CodeNewerVersion, cause)
	case errors.Is(cause, event.ErrInvalid):
		return s.bury(ctx, t, event.CodeInvalidRecord, cause)
	}
	return s.bury(ctx, t, event.CodeUndecodable, cause)
}

// bury sends the record to the dead letters together with the failed outcomes of its questions.
func (s *settler) bury(ctx context.Context, t *task, reason string, cause error) verdict {
	result := telemetry.ResultDead
	if reason == event.CodeUndecodable || reason == event.CodeInvalidRecord {
		result = telemetry.ResultGarbage
	}
	outcomes := s.outcomes(ctx, t, reason, cause)
	letter := s.deadLetter(t, reason, cause)
	err := s.out.publish(ctx, append([]event.Record{letter}, outcomes...))
	for n := 1; errors.Is(err, kafka.ErrTooLarge); n++ {
		s.out.pause(ctx, n)
		err = s.out.publish(ctx, append([]event.Record{truncated(letter)}, outcomes...))
	}
	if err == nil {
		s.metrics.Dead(ctx, s.stage, reason)
		s.log.WarnContext(ctx, "record dead-lettered", "reason", reason, "topic", t.part.topic,
			"partition", t.part.id, "offset", t.rec.Offset, "job", t.meta.job, "error", boundError(cause))
	}
	return s.done(t, result, cause, err)
}

// retryLater puts the record on the next retry topic, counting the attempt.
func (s *settler) retryLater(ctx context.Context, t *task, cause error) verdict {
	index := t.meta.attempt
	rec := s.annotate(t, cause, t.meta.attempt+1)
	err := s.out.publish(ctx, []event.Record{s.retries.address(rec, index, s.retries.delays[index])})
	if errors.Is(err, kafka.ErrTooLarge) {
		return s.bury(ctx, t, codeOf(cause), cause)
	}
	if err == nil {
		s.metrics.Retried(ctx, s.stage, telemetry.RetryTopic)
	}
	return s.done(t, telemetry.ResultRetried, cause, err)
}

// putBack puts the record on a retry topic for about the wait, without counting.
func (s *settler) putBack(ctx context.Context, t *task, later *laterError) verdict {
	wait := max(later.after, minLater)
	index := s.retries.fit(wait)
	rec := s.annotate(t, nil, t.meta.attempt)
	if later.elsewhere {
		rec = s.forElsewhere(rec)
	}
	err := s.out.publish(ctx, []event.Record{s.retries.address(rec, index, min(wait, s.retries.delays[index]))})
	if errors.Is(err, kafka.ErrTooLarge) {
		return s.bury(ctx, t, event.CodeInternal, err)
	}
	return s.done(t, telemetry.ResultLater, nil, err)
}

// forElsewhere notes since when and how often the record was put back for another instance, and gives it a key at random, so that sooner or
// later it comes to a partition of each instance: the partition of its own key may belong to this instance for ever.
func (s *settler) forElsewhere(rec event.Record) event.Record {
	if _, ok := putBackSince(rec); !ok {
		rec = rec.With(event.HeaderPutBackSince, s.retries.clock.now().UTC().Format(time.RFC3339Nano))
	}
	rec = rec.With(event.HeaderPutBacks, strconv.Itoa(putBacks(rec)+1)).With(event.HeaderKey, rec.Key)
	rec.Key += "#" + strconv.FormatUint(s.chance.next()>>32, 36)
	return rec
}

// outcomes are the ends of the record's questions, all with that code.
func (s *settler) outcomes(ctx context.Context, t *task, code string, cause error) []event.Record {
	trace := telemetry.TraceID(ctx)
	message := boundError(cause)
	if code == event.CodeInternal {
		message = internalMessage(s.stage, trace)
	}
	records, err := event.FailedOutcomes(s.stage, t.meta.rec, event.Failure{Code: code, Message: message, TraceID: trace, Model: s.model})
	if err != nil { // cannot be: what is salvaged of any record can be encoded
		s.log.ErrorContext(ctx, "making failed outcomes", "topic", t.part.topic, "offset", t.rec.Offset, "error", err)
	}
	return t.owned(records)
}

// internalMessage is what users are told of a fault that is not theirs. The cause, which may name files and hosts, stands in the log, in the trace and in
// the dead letter.
func internalMessage(stage, trace string) string {
	if trace == "" {
		return fmt.Sprintf("something went wrong in stage %s; its log says what", stage)
	}
	return fmt.Sprintf("something went wrong in stage %s; trace %s leads to the cause", stage, trace)
}

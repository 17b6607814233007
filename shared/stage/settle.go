package stage

import (
	"context"
	"errors"
	"strconv"
	"strings"
	"time"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/telemetry"
)

const (
	maxErrorBytes = 1 << 10
	// A dead letter that the broker refuses for its size keeps this much of key and value.
	cutKeyBytes    = 1 << 10
	cutValueBytes  = 64 << 10
	publishBackoff = 100 * time.Millisecond
	publishMaxWait = 5 * time.Second
	// minLater keeps Later(0) from going round without rest.
	minLater = 100 * time.Millisecond
)

// headerTruncated marks a dead letter whose value and foreign headers did not fit.
const headerTruncated = "lark-truncated"

// complete publishes the outputs and finishes the record.
func (r *Runner) complete(ctx context.Context, t *task, outputs []event.Record) verdict {
	err := r.publish(ctx, outputs)
	if errors.Is(err, kafka.ErrTooLarge) {
		return r.bury(ctx, t, event.CodeInternal, err)
	}
	return r.done(t, telemetry.ResultOK, nil, err)
}

// done finishes the record if its publishing succeeded; if not, the partition is stopping.
func (r *Runner) done(t *task, result string, cause, publishErr error) verdict {
	if publishErr != nil {
		return verdict{}
	}
	t.part.finish(t)
	return verdict{result: result, err: cause}
}

// endJob writes the outcomes of a job that was cancelled or has expired.
func (r *Runner) endJob(ctx context.Context, t *task, code string, cause error) verdict {
	outcomes := r.outcomes(ctx, t, code, cause)
	result := telemetry.ResultCancelled
	if code == event.CodeExpired {
		result = telemetry.ResultExpired
	}
	return r.done(t, result, nil, r.publish(ctx, outcomes))
}

// bury sends the record to the dead letters together with the failed outcomes of its questions.
func (r *Runner) bury(ctx context.Context, t *task, reason string, cause error) verdict {
	result := telemetry.ResultDead
	var outcomes []event.Record
	if reason == ReasonUndecodable {
		result = telemetry.ResultGarbage // nobody can tell which questions it carried
	} else {
		outcomes = r.outcomes(ctx, t, reason, cause)
	}
	letter := r.deadLetter(t, reason, cause)
	err := r.publish(ctx, append([]event.Record{letter}, outcomes...))
	for n := 1; errors.Is(err, kafka.ErrTooLarge); n++ {
		waitFor(ctx, min(backoff(publishBackoff, n), publishMaxWait))
		err = r.publish(ctx, append([]event.Record{truncated(letter)}, outcomes...))
	}
	if err == nil {
		r.metrics.Dead(ctx, r.cfg.Stage, reason)
		r.log.WarnContext(ctx, "record dead-lettered", "reason", reason, "topic", t.part.topic,
			"partition", t.part.id, "offset", t.rec.Offset, "job", t.meta.job, "error", boundError(cause))
	}
	return r.done(t, result, cause, err)
}

// retryLater puts the record on the next retry topic, counting the attempt.
func (r *Runner) retryLater(ctx context.Context, t *task, cause error) verdict {
	delay := r.cfg.RetryDelays[t.meta.attempt]
	rec := r.annotate(t, cause, t.meta.attempt+1)
	err := r.publish(ctx, []event.Record{r.delayed(rec, delay, delay)})
	if errors.Is(err, kafka.ErrTooLarge) {
		return r.bury(ctx, t, codeOf(cause), cause)
	}
	if err == nil {
		r.metrics.Retried(ctx, r.cfg.Stage, telemetry.RetryTopic)
	}
	return r.done(t, telemetry.ResultRetried, cause, err)
}

// putBack puts the record on the shortest retry topic that is long enough for the wait, so that it
// never holds up that topic for longer than the topic's own delay.
func (r *Runner) putBack(ctx context.Context, t *task, wait time.Duration) verdict {
	delay := r.cfg.RetryDelays[len(r.cfg.RetryDelays)-1]
	wait = max(wait, minLater)
	for _, d := range r.cfg.RetryDelays {
		if d >= wait {
			delay = d
			break
		}
	}
	rec := r.annotate(t, nil, t.meta.attempt)
	err := r.publish(ctx, []event.Record{r.delayed(rec, delay, min(wait, delay))})
	if errors.Is(err, kafka.ErrTooLarge) {
		return r.bury(ctx, t, event.CodeInternal, err)
	}
	return r.done(t, telemetry.ResultLater, nil, err)
}

func (r *Runner) delayed(rec event.Record, topic, wait time.Duration) event.Record {
	rec.Topic = event.RetryTopic(r.cfg.Stage, topic)
	return rec.With(event.HeaderNotBefore, strconv.FormatInt(time.Now().Add(wait).UnixMilli(), 10))
}

// annotate copies the record with where it came from, how often it was tried, and why it failed.
func (r *Runner) annotate(t *task, cause error, attempt int) event.Record {
	rec := t.meta.rec
	_, retried := r.delays[t.part.topic]
	if !retried || rec.Get(event.HeaderOriginTopic) == "" {
		rec = rec.With(event.HeaderOriginTopic, t.part.topic).
			With(event.HeaderOriginPartition, strconv.Itoa(int(t.part.id))).
			With(event.HeaderOriginOffset, strconv.FormatInt(t.rec.Offset, 10))
	}
	rec = rec.With(event.HeaderStage, r.cfg.Stage).With(event.HeaderAttempt, strconv.Itoa(attempt))
	if cause != nil {
		text := boundError(cause)
		if !retried || rec.Get(event.HeaderFirstError) == "" {
			rec = rec.With(event.HeaderFirstError, text)
		}
		rec = rec.With(event.HeaderErrorText, text)
	}
	return rec
}

func (r *Runner) deadLetter(t *task, reason string, cause error) event.Record {
	rec := r.annotate(t, cause, t.meta.attempt+1)
	rec.Topic = event.TopicDead
	return rec.With(event.HeaderReason, reason)
}

// truncated keeps of a dead letter that is too large what still tells what it was.
func truncated(rec event.Record) event.Record {
	out := event.Record{
		Topic: rec.Topic, Key: rec.Key[:min(len(rec.Key), cutKeyBytes)],
		Value: rec.Value[:min(len(rec.Value), cutValueBytes)],
	}
	for _, key := range []string{
		event.HeaderID, event.HeaderType, event.HeaderSubject, event.HeaderStage, event.HeaderAttempt,
		event.HeaderReason, event.HeaderErrorText, event.HeaderFirstError, event.HeaderOriginTopic,
		event.HeaderOriginPartition, event.HeaderOriginOffset,
	} {
		if v := rec.Get(key); v != "" {
			out = out.With(key, v[:min(len(v), cutKeyBytes)])
		}
	}
	return out.With(headerTruncated, strconv.Itoa(len(rec.Value)))
}

func (r *Runner) outcomes(ctx context.Context, t *task, code string, cause error) []event.Record {
	records, err := event.FailedOutcomes(r.cfg.Stage, t.meta.rec, event.Failure{
		Code: code, Message: boundError(cause), TraceID: telemetry.TraceID(ctx), Model: r.deps.Model,
	})
	if err != nil { // cannot be: the record was decoded before
		r.log.ErrorContext(ctx, "making failed outcomes", "topic", t.part.topic, "offset", t.rec.Offset, "error", err)
	}
	return records
}

// publish writes the records with the trace context of ctx, trying again for as long as ctx lives.
// Its error means that ctx ended, or wraps kafka.ErrTooLarge.
func (r *Runner) publish(ctx context.Context, recs []event.Record) error {
	if len(recs) == 0 {
		return ctx.Err()
	}
	traced := make([]event.Record, len(recs))
	for i, rec := range recs {
		rec.Headers = telemetry.InjectHeaders(ctx, rec.Headers)
		traced[i] = rec
	}
	for n := 1; ; n++ {
		err := r.deps.Producer.Publish(ctx, traced...)
		if err == nil {
			for _, rec := range traced {
				r.metrics.Published(ctx, r.cfg.Stage, rec.Topic, 1)
			}
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, kafka.ErrTooLarge) {
			return err
		}
		r.log.WarnContext(ctx, "publishing, trying again", "records", len(recs), "error", err)
		if !waitFor(ctx, min(backoff(publishBackoff, n), publishMaxWait)) {
			return ctx.Err()
		}
	}
}

// boundError is the error's text as it may stand in headers and outcomes.
func boundError(err error) string {
	text := err.Error()
	if len(text) > maxErrorBytes {
		text = text[:maxErrorBytes] + "..."
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

// attemptOf reads the counted retries from the headers; nonsense counts as none.
func attemptOf(rec event.Record) int {
	n, err := strconv.Atoi(rec.Get(event.HeaderAttempt))
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// dueOf reads when a record may be handled: never later than the topic's delay from now, whatever
// its headers say.
func dueOf(rec event.Record, delay time.Duration) time.Time {
	ms, err := strconv.ParseInt(rec.Get(event.HeaderNotBefore), 10, 64)
	if err != nil {
		return time.Time{}
	}
	due := time.UnixMilli(ms)
	if latest := time.Now().Add(delay); due.After(latest) {
		return latest
	}
	return due
}

package stage

import (
	"strconv"
	"strings"

	"github.com/larkstream/larkstream/shared/event"
)

const (
	maxErrorBytes = 1 << 10
	// A dead letter that the broker refuses for its size keeps this much of key and value.
	cutKeyBytes   = 1 << 10
	cutValueBytes = 64 << 10
)

// annotate copies the task's record with where it came from, how often it was tried, and why it failed. A record of a
// retry topic keeps the origin and the first error that it has already, and so does a dead letter that was sent back.
func (s *settler) annotate(t *task, cause error, attempt int) event.Record {
	rec := t.meta.rec
	_, retried := s.retries.delayOf(t.part.topic)
	retried = retried || rec.Get(event.HeaderRedriven) != ""
	if !retried || rec.Get(event.HeaderOriginTopic) == "" {
		rec = rec.With(event.HeaderOriginTopic, t.part.topic).
			With(event.HeaderOriginPartition, strconv.Itoa(int(t.part.id))).
			With(event.HeaderOriginOffset, strconv.FormatInt(t.rec.Offset, 10))
	}
	rec = rec.With(event.HeaderStage, s.stage).With(event.HeaderAttempt, strconv.Itoa(attempt))
	if cause != nil {
		text := boundError(cause)
		if !retried || rec.Get(event.HeaderFirstError) == "" {
			rec = rec.With(event.HeaderFirstError, text)
		}
		rec = rec.With(event.HeaderErrorText, text)
	}
	return rec
}

func (s *settler) deadLetter(t *task, reason string, cause error) event.Record {
	rec := s.annotate(t, cause, t.meta.attempt+1)
	rec.Topic = event.TopicDead
	return rec.With(event.HeaderReason, reason)
}

// truncated cuts a dead letter that is too large down to what still tells where it came from and why it died.
func truncated(rec event.Record) event.Record {
	out := event.Record{
		Topic: rec.Topic, Key: rec.Key[:min(len(rec.Key), cutKeyBytes)],
		Value: rec.Value[:min(len(rec.Value), cutValueBytes)],
	}
	for _, key := range []string{
		event.HeaderID, event.HeaderType, event.HeaderSubject, event.HeaderStage, event.HeaderAttempt,
		event.HeaderReason, event.HeaderErrorText, event.HeaderFirstError, event.HeaderOriginTopic,
		event.HeaderOriginPartition, event.HeaderOriginOffset, event.HeaderRedriven, event.HeaderTenant, event.HeaderIsolated,
	} {
		if v := rec.Get(key); v != "" {
			out = out.With(key, v[:min(len(v), cutKeyBytes)])
		}
	}
	return out.With(event.HeaderTruncated, strconv.Itoa(len(rec.Value)))
}

// boundError is the error's text, short enough and clean enough for headers and outcomes.
func boundError(err error) string {
	text := err.Error()
	if len(text) > maxErrorBytes {
		text = text[:maxErrorBytes] + "..."
	}
	return strings.ToValidUTF8(text, "\uFFFD")
}

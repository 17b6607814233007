package reaper

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
)

// deadRetry is the wait after a fault while a dead letter is looked at.
const deadRetry = time.Second

// Dead takes a record of lark.dead.v1. Where the stage that gave the record up could not end the record's questions, the header ce_subject
// names the job, and Dead ends what is open of that job. It returns when that is done or ctx has ended. A dead letter that is read again
// changes nothing, for its job has ended.
func (r *Reaper) Dead(ctx context.Context, rec event.Record) {
	id := rec.Get(event.HeaderSubject)
	if id == "" || !openQuestions(rec) {
		return
	}
	for {
		err := r.end(ctx, id, func(store.Job) event.Failure {
			return event.Failure{Code: codeOf(rec), Message: "a record of the job could not be read: " + rec.Get(event.HeaderErrorText)}
		})
		if err == nil || errors.Is(err, store.ErrNotFound) {
			return
		}
		r.deps.Log.WarnContext(ctx, "ending the job of a dead letter is incomplete", slog.String("job_id", id), slog.Any("error", err))
		if errors.Is(err, errUnpublishable) {
			return
		}
		timer := time.NewTimer(deadRetry)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
	}
}

// openQuestions tells whether a dead letter may leave questions open. A stage ends the questions of a record that it gives up, but it may not
// know them all if it could not read the record, for example because a newer version wrote it. The recorder ends none: its records are the ends, except those on
// the topic of the jobs, which the chunker reads too.
func openQuestions(rec event.Record) bool {
	if rec.Get(event.HeaderStage) == event.StageRecorder {
		return rec.Get(event.HeaderOriginTopic) == event.TopicAnswers
	}
	return slices.Contains(unreadable, rec.Get(event.HeaderReason))
}

// unreadable are the reasons of dead letters whose record could not be read whole.
var unreadable = []string{event.CodeUndecodable, event.CodeInvalidRecord, event.CodeNewerVersion}

// codeOf is the code of the outcomes of a dead letter's questions: its reason, if that says what was wrong with the record.
func codeOf(letter event.Record) string {
	if reason := letter.Get(event.HeaderReason); slices.Contains(unreadable, reason) {
		return reason
	}
	return event.CodeUndecodable
}

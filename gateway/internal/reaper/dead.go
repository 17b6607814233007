package reaper

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/outbox"
	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
)

// deadRetry is the wait after a fault while a dead letter is looked at.
const deadRetry = time.Second

// Dead takes a record of lark.dead.v1. A stage that gives a record up ends the questions that the record carries. The recorder's records are
// those ends themselves, plans and outcomes; where the recorder has buried one, Dead ends what is open of the job that the header ce_subject
// names. It returns when that is done or ctx has ended. A dead letter that is read again changes nothing, for its job has ended.
func (r *Reaper) Dead(ctx context.Context, rec event.Record) {
	id := rec.Get(event.HeaderSubject)
	if id == "" || rec.Get(event.HeaderStage) != event.StageRecorder || rec.Get(event.HeaderOriginTopic) != event.TopicAnswers {
		return
	}
	for {
		err := r.end(ctx, id, func(store.Job) event.Failure {
			return event.Failure{Code: event.CodeInternal, Message: "a plan or an outcome of the job could not be recorded; the dead letter of the job says why"}
		})
		if err == nil || errors.Is(err, store.ErrNotFound) {
			return
		}
		r.deps.Log.WarnContext(ctx, "ending the job of a dead letter is incomplete", slog.String("job_id", id), slog.Any("error", err))
		if errors.Is(err, outbox.ErrUnpublishable) {
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

package stage

import (
	"context"
	"time"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// emitter sends records without waiting, best effort. A *kafka.Producer is one.
type emitter interface {
	Emit(ctx context.Context, rec event.Record)
}

// tellWaiting tells the watchers of the record's job, once, that the job waits because the stage pauses.
func (p *processor) tellWaiting(ctx context.Context, t *task) {
	if p.events == nil || t.waits {
		return
	}
	t.waits = true
	msg, err := event.Decode(t.meta.rec)
	if err != nil {
		return // refuse ends the record
	}
	progress := &eventpb.Progress{Stage: p.stage, Status: event.StatusWaiting}
	if w, ok := msg.(interface{ GetTask() *eventpb.Task }); ok {
		progress.WindowIndex = w.GetTask().GetWindow().GetIndex()
	}
	rec, err := event.Encode(p.stage, &eventpb.Event{JobId: t.meta.job, AtUnixMs: time.Now().UnixMilli(), Body: &eventpb.Event_Progress{Progress: progress}})
	if err == nil { // a record without a job has no watchers
		p.events.Emit(ctx, rec)
	}
}

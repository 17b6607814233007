package recorder

import (
	"context"
	"fmt"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// adoptWait is when to look again for the job of an answer that came first.
const adoptWait = time.Second

// adopt takes up a job that another producer has published. The gateway's own jobs are known and stay as they are.
func (r *Recorder) adopt(ctx context.Context, m *eventpb.Job) error {
	spec, err := event.JobSpecOf(m)
	if err != nil {
		return stage.Permanent(event.CodeInternal, fmt.Errorf("adopting job: %w", err))
	}
	return r.deps.Store.Adopt(ctx, store.NewJob(spec, telemetry.TraceID(ctx)))
}

// unknown deals with an entry whose job is not in the store. The record of the job was published before the entry, but the recorder may not
// have read it yet. The entry waits while unread job records exist. Without unread job records the entry is a stray.
func (r *Recorder) unknown(ctx context.Context, entry store.Entry) (store.Recorded, error) {
	if r.deps.JobsPending == nil {
		return store.Recorded{Unknown: true}, nil
	}
	pending, err := r.deps.JobsPending(ctx)
	if err != nil {
		return store.Recorded{}, fmt.Errorf("looking for the job of an answer: %w", err)
	}
	res, err := r.write(ctx, entry) // it may have been taken up in between
	if err == nil && res.Unknown && pending > 0 {
		return store.Recorded{}, stage.Later(adoptWait)
	}
	return res, err
}

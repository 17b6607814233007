package recorder

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// adoptWait is when to look again for the job of an answer that came first.
const adoptWait = time.Second

// adopt takes up a job that another producer has published. The gateway's own jobs are known and stay as they are. A job that is published
// again after its end has all its outcomes, so it is cancelled: the stages do its work no second time.
func (r *Recorder) adopt(ctx context.Context, rec event.Record, m *eventpb.Job) ([]event.Record, error) {
	spec, err := event.JobSpecOf(m)
	if err != nil {
		return nil, stage.Permanent(event.CodeInternal, fmt.Errorf("adopting job: %w", err))
	}
	tenant, ok := event.TenantOf(rec)
	if !ok {
		return nil, stage.Permanent(event.CodeInvalidRecord, fmt.Errorf("adopting job %s: header %s %.80q names no tenant", spec.ID, event.HeaderTenant, rec.Get(event.HeaderTenant)))
	}
	job := store.NewJob(tenant, spec, telemetry.TraceID(ctx))
	job.Isolated = rec.Get(event.HeaderIsolated) == event.IsolatedYes
	var found store.Adopted
	err = r.persist(ctx, func() (err error) {
		found, err = r.deps.Store.Adopt(ctx, job)
		return err
	})
	if err != nil {
		return nil, err
	}
	if found.New {
		r.deps.Metrics.JobAccepted(ctx, tenant)
	}
	if found.Ended.IsZero() || !rec.Time.After(found.Ended) {
		return nil, nil
	}
	stop, err := event.Encode(Source, &eventpb.Control{JobId: spec.ID, Kind: event.ControlCancel, AtUnixMs: rec.Time.UnixMilli()})
	return []event.Record{stop}, err
}

// unknown deals with an entry whose job is not in the store. The record of the job was published before the entry, but the recorder may not
// have read it yet. The entry waits while unread job records exist, and while nobody can tell whether they do. Without unread job records
// the entry is a stray.
func (r *Recorder) unknown(ctx context.Context, entry store.Entry) (store.Recorded, error) {
	if r.deps.JobsPending == nil {
		return store.Recorded{Unknown: true}, nil
	}
	pending, err := r.deps.JobsPending(ctx)
	if err != nil {
		r.deps.Log.WarnContext(ctx, "recorder cannot tell whether the job of an answer is still to come; the answer waits", slog.Any("error", err))
		return store.Recorded{}, stage.Later(adoptWait)
	}
	res, err := r.write(ctx, entry) // it may have been taken up in between
	if err == nil && res.Unknown && pending > 0 {
		return store.Recorded{}, stage.Later(adoptWait)
	}
	return res, err
}

package outbox

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// Source is the gateway's name as the sender of records.
const Source = "gateway"

// ErrUnpublishable says that no record can be made of a stored job, now or later.
var ErrUnpublishable = errors.New("job cannot be published")

// JobRecord is the record of a stored job, in the job's trace. It fails with ErrUnpublishable.
func JobRecord(ctx context.Context, job store.Job) (event.Record, error) {
	rec, err := event.Encode(Source, event.NewJob(job.JobSpec))
	if err != nil {
		return event.Record{}, fmt.Errorf("making the record of job %s: %w: %w", job.ID, ErrUnpublishable, err)
	}
	rec.Headers = telemetry.InjectHeaders(telemetry.ContinueTrace(ctx, job.TraceID), rec.Headers)
	return job.Own(rec), nil
}

// FailedOutcomes are records that end every question of a stored job, in the job's trace, as a stage writes them that gives the job up as a
// whole.
func FailedOutcomes(ctx context.Context, job store.Job, failure event.Failure) ([]event.Record, error) {
	rec, err := JobRecord(ctx, job)
	if err != nil {
		return nil, err
	}
	failure.TraceID = job.TraceID
	outcomes, err := event.FailedOutcomes(Source, rec, failure)
	if err != nil {
		return nil, fmt.Errorf("ending job %s: %w", job.ID, err)
	}
	for i := range outcomes {
		outcomes[i].Headers = telemetry.InjectHeaders(telemetry.ContinueTrace(ctx, job.TraceID), outcomes[i].Headers)
		outcomes[i] = job.Own(outcomes[i])
	}
	return outcomes, nil
}

// Jobs is the part of the job store that Cancel needs.
type Jobs interface {
	Get(ctx context.Context, id string) (store.Job, error)
	Cancel(ctx context.Context, id string, stop, ends []event.Record) (store.Job, error)
}

// Cancel cancels a job and returns it as it then is: the stages are told to stop, or, if the job waits and no stage knows of it, its questions end.
func Cancel(ctx context.Context, jobs Jobs, job store.Job, at time.Time) (store.Job, error) {
	stop, err := event.Encode(Source, &eventpb.Control{JobId: job.ID, Kind: event.ControlCancel, AtUnixMs: at.UnixMilli()})
	if err != nil {
		return store.Job{}, err
	}
	stop.Headers = telemetry.InjectHeaders(ctx, stop.Headers)
	var ends []event.Record
	if job.Waiting {
		whole, err := jobs.Get(ctx, job.ID) // with its questions
		if err != nil {
			return store.Job{}, err
		}
		if ends, err = FailedOutcomes(ctx, whole, event.Failure{Code: event.CodeCancelled, Message: "job cancelled"}); err != nil {
			return store.Job{}, err
		}
	}
	return jobs.Cancel(ctx, job.ID, []event.Record{stop}, ends)
}

package outbox

import (
	"context"
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/gateway/internal/store"
	"github.com/larkstream/larkstream/shared/event"
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
	return event.OfTenant(rec, job.Tenant), nil
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
	}
	return outcomes, nil
}

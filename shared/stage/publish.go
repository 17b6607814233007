package stage

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/telemetry"
)

const (
	publishBackoff = 100 * time.Millisecond
	publishMaxWait = 5 * time.Second
)

// Publisher writes records. Publish returns once all records are acknowledged; after an error the runner publishes all of
// them again, unless the error wraps kafka.ErrTooLarge. *kafka.Producer is a Publisher.
type Publisher interface {
	Publish(ctx context.Context, recs ...event.Record) error
}

var _ Publisher = (*kafka.Producer)(nil)

// persistentPublisher publishes what a stage writes, again and again until it is acknowledged.
type persistentPublisher struct {
	stage   string
	out     Publisher
	log     *slog.Logger
	metrics *telemetry.StageMetrics
}

// publish writes the records with the trace context of ctx, trying again for as long as ctx lives. Its error means that
// ctx has ended, or wraps kafka.ErrTooLarge.
func (p *persistentPublisher) publish(ctx context.Context, recs []event.Record) error {
	if len(recs) == 0 {
		return ctx.Err()
	}
	traced := make([]event.Record, len(recs))
	for i, rec := range recs {
		rec.Headers = telemetry.InjectHeaders(ctx, rec.Headers)
		traced[i] = rec
	}
	for n := 1; ; n++ {
		err := p.out.Publish(ctx, traced...)
		if err == nil {
			for _, rec := range traced {
				p.metrics.Published(ctx, p.stage, rec.Topic, 1)
			}
			return nil
		}
		if ctx.Err() != nil || errors.Is(err, kafka.ErrTooLarge) {
			return err
		}
		p.log.WarnContext(ctx, "publishing, trying again", "records", len(recs), "error", err)
		if !p.pause(ctx, n) {
			return ctx.Err()
		}
	}
}

// pause waits before attempt n+1; false when ctx ends first.
func (p *persistentPublisher) pause(ctx context.Context, n int) bool {
	return waitFor(ctx, min(backoff(publishBackoff, n), publishMaxWait))
}

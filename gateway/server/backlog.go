package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// backlogInterval is how often the broker is asked what each stage has left to do: as often as Prometheus usually looks.
const backlogInterval = 15 * time.Second

// followBacklogs asks the broker what each stage has left to do, until ctx ends. It is the gateway that asks, because a stage that is down tells
// nothing of itself.
func (g *gateway) followBacklogs(ctx context.Context) error {
	backlogs, err := kafka.NewBacklogs(g.kafka())
	if err != nil {
		return err
	}
	defer backlogs.Close()
	metrics := telemetry.NewBacklogMetrics()
	ticker := time.NewTicker(backlogInterval)
	defer ticker.Stop()
	for failed := false; ; {
		err := readBacklogs(ctx, backlogs, metrics)
		if err != nil && ctx.Err() == nil && !failed {
			g.tel.Log.WarnContext(ctx, "cannot ask the broker what the stages have left to do; lark.backlog and lark.stage.members are absent meanwhile", slog.Any("error", err))
		}
		failed = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func readBacklogs(ctx context.Context, backlogs *kafka.Backlogs, metrics *telemetry.BacklogMetrics) error {
	for _, stage := range event.Stages() {
		b, err := backlogs.Read(ctx, stage, event.ReadBy(stage)...)
		if err != nil {
			return err
		}
		metrics.Set(b)
	}
	return nil
}

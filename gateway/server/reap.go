package server

import (
	"context"

	"github.com/larkstream/larkstream/gateway/internal/outbox"
	"github.com/larkstream/larkstream/gateway/internal/reaper"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/service"
)

func (g *gateway) reaper(relay *outbox.Relay) (*reaper.Reaper, error) {
	c := g.cfg.Reaper
	return reaper.New(reaper.Config{Interval: c.Interval, Grace: c.Grace, Idle: c.Idle, Republish: c.Republish}, reaper.Deps{
		Store: g.jobs, Publisher: g.producer, Drained: g.drained, Begun: func(id string) bool { return g.hub.Progress(id).Begun() }, Now: g.host.Now, Wake: relay.Wake, Metrics: g.ledger, Log: g.tel.Log,
	})
}

// reaperParts look after open jobs, and after the jobs of answers that the recorder has buried.
func reaperParts(g *gateway, r *reaper.Reaper) []service.Part {
	return []service.Part{
		{Name: "reaper", Run: r.Run},
		{Name: "dead letters", Run: func(ctx context.Context) error {
			_, wait := kafka.Tail(ctx, g.kafka(), event.TopicDead, kafka.Earliest, func(rec event.Record, _ int32, _ int64) { r.Dead(ctx, rec) })
			return wait()
		}},
	}
}

// drained tells whether every stage and then the recorder has committed all that is on its topics.
func (g *gateway) drained(ctx context.Context) (bool, error) {
	for _, stage := range event.Stages() {
		unread, err := kafka.Unread(ctx, g.kafka(), event.Group(stage), event.ReadBy(stage)...)
		if err != nil || unread > 0 {
			return false, err
		}
	}
	return true, nil
}

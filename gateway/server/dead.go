package server

import (
	"context"
	"time"

	"github.com/larkstream/larkstream/gateway/internal/dead"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

// deadLog is the topic of dead letters.
type deadLog struct{ cfg kafka.Config }

var _ dead.Log = deadLog{}

func (d deadLog) Scan(ctx context.Context, from kafka.Place, since time.Time, fn func(event.Record, kafka.Place) bool) error {
	return kafka.Scan(ctx, d.cfg, event.TopicDead, from, since, fn)
}

func (d deadLog) DeleteBefore(ctx context.Context, at kafka.Place) error {
	return kafka.DeleteBefore(ctx, d.cfg, event.TopicDead, at)
}

func (g *gateway) letters() (*dead.Letters, error) {
	return dead.New(dead.Deps{Log: deadLog{g.kafka()}, Publisher: g.producer, Store: g.jobs, Audit: g.tel.Log})
}

package server

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

const (
	// provisionRetry is the wait between attempts to make the topics while the broker is away.
	provisionRetry = time.Second
	// provisionAgain is how often it is looked whether all topics are still there: a broker may come back without its log.
	provisionAgain = time.Minute
)

// provisioner makes the topics that are missing.
type provisioner struct {
	cfg    kafka.Config
	topics []event.TopicSpec
	log    *slog.Logger
	done   chan struct{}
	last   atomic.Pointer[error] // why the latest attempt failed
}

// ready tells what the gateway waits for, and why it has to.
func (p *provisioner) ready() error {
	select {
	case <-p.done:
		return nil
	default:
	}
	if last := p.last.Load(); last != nil {
		return fmt.Errorf("waiting for Kafka at %s to make the topics: %w", strings.Join(p.cfg.Brokers, ","), *last)
	}
	return fmt.Errorf("waiting for Kafka at %s to make the topics", strings.Join(p.cfg.Brokers, ","))
}

// run tries until the broker answers, and looks again now and then, until ctx ends.
func (p *provisioner) run(ctx context.Context) error {
	made := sync.OnceFunc(func() { close(p.done) })
	for logged := false; ; {
		wait := provisionAgain
		err := kafka.Provision(ctx, p.cfg, p.topics)
		if err == nil {
			made()
			logged = false
		} else {
			wait = provisionRetry
			p.last.Store(&err)
			if !logged && ctx.Err() == nil {
				p.log.WarnContext(ctx, "waiting for the broker to make topics", slog.Any("error", err))
			}
			logged = true
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
	}
}

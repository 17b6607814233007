// Package rounds is the loop of what a gateway leads: runs and batches.
package rounds

import (
	"context"
	"log/slog"
	"time"
)

// Loop does round after round while there is something to do, and otherwise waits for Wake or the interval.
type Loop struct {
	interval time.Duration
	failing  string
	log      *slog.Logger
	signal   chan struct{}
}

// New makes a loop. failing is logged once when rounds begin to go wrong.
func New(interval time.Duration, failing string, log *slog.Logger) *Loop {
	return &Loop{interval: interval, failing: failing, log: log, signal: make(chan struct{}, 1)}
}

// Wake tells the loop that there is something to do. It never blocks.
func (l *Loop) Wake() {
	select {
	case l.signal <- struct{}{}:
	default:
	}
}

// Run calls once until ctx ends; once tells whether it has made a step.
func (l *Loop) Run(ctx context.Context, once func(context.Context) (busy bool, err error)) error {
	logged := false
	for {
		busy, err := once(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil && !logged {
			l.log.WarnContext(ctx, l.failing, slog.Any("error", err))
		}
		logged = err != nil
		if busy && err == nil {
			continue
		}
		timer := time.NewTimer(l.interval)
		select {
		case <-ctx.Done():
		case <-l.signal:
		case <-timer.C:
		}
		timer.Stop()
	}
}

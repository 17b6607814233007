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
	what     string
	log      *slog.Logger
	signal   chan struct{}
}

// New makes a loop. what names the work in the log, which tells once when rounds begin to go wrong.
func New(interval time.Duration, what string, log *slog.Logger) *Loop {
	return &Loop{interval: interval, what: what, log: log, signal: make(chan struct{}, 1)}
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
			l.log.WarnContext(ctx, "work does not go on; trying again", slog.String("work", l.what), slog.Any("error", err))
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

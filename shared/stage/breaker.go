package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/larkstream/larkstream/shared/telemetry"
)

const (
	// While a dependency is down, one record tries it this long after the last try; the wait doubles up to the longest.
	firstProbe   = time.Second
	longestProbe = 30 * time.Second
	// A record that finds a dependency down this often while others are handled is itself at fault: the stage must not pause for it for ever.
	maxDowns = 3
)

// Unavailable says that something which every record of the stage needs does not answer, such as the object store or the server
// of the model. When the attempts in place are used up, the stage pauses: no record is failed or put on a retry topic for it.
// One record after another tries again, and with the first success the stage goes on. An error with a method
// Unavailable() bool says the same.
func Unavailable(err error) error { return &unavailableError{err} }

type unavailableError struct{ error }

func (e *unavailableError) Unwrap() error     { return e.error }
func (e *unavailableError) Unavailable() bool { return true }

// unavailable tells whether err says that a dependency is down.
func unavailable(err error) bool {
	var u interface{ Unavailable() bool }
	return errors.As(err, &u) && u.Unavailable()
}

// breaker is the circuit breaker of a stage. It is closed while the dependencies answer and open while one is down.
type breaker struct {
	stage   string
	log     *slog.Logger
	metrics *telemetry.StageMetrics

	mu      sync.Mutex
	open    bool
	since   time.Time     // when it opened
	wait    time.Duration // between two probes
	next    time.Time     // when a record may try
	probing bool
	why     string        // it is open
	good    uint64        // records handled without an error
	changed chan struct{} // closed and replaced with each change
}

func newBreaker(stage string, log *slog.Logger, metrics *telemetry.StageMetrics) *breaker {
	return &breaker{stage: stage, log: log, metrics: metrics, changed: make(chan struct{})}
}

// pass waits until a record may be handled; ok is false when ctx ends first. probe is true for the record that tries while the
// circuit is open. Each pass that was ok must be reported.
func (b *breaker) pass(ctx context.Context) (probe, ok bool) {
	for {
		wait, changed, probe := b.enter()
		if wait == 0 {
			return probe, true
		}
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return false, false
		case <-changed:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// enter returns 0 if a record may be handled now, else how long to wait unless something changes.
func (b *breaker) enter() (wait time.Duration, changed <-chan struct{}, probe bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open:
		return 0, nil, false
	case b.probing:
		return time.Hour, b.changed, false // until the probe is reported
	}
	if wait := time.Until(b.next); wait > 0 {
		return wait, b.changed, false
	}
	b.probing = true
	return 0, nil, true
}

// report tells how a record went that had passed.
func (b *breaker) report(ctx context.Context, probe bool, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if err == nil {
		b.good++
	}
	if !b.open {
		return
	}
	if err == nil {
		b.open, b.probing = false, false
		b.metrics.Paused(ctx, b.stage, false)
		b.log.InfoContext(ctx, "stage goes on: what it needs answers again", "paused_s", time.Since(b.since).Seconds())
		b.broadcast()
		return
	}
	if probe {
		b.probing = false
		if unavailable(err) {
			b.wait = min(2*b.wait, longestProbe)
		}
		b.next = time.Now().Add(b.wait)
		b.broadcast()
	}
}

// trip opens the circuit.
func (b *breaker) trip(ctx context.Context, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.open {
		return
	}
	b.open, b.since, b.wait, b.next, b.why = true, time.Now(), firstProbe, time.Now().Add(firstProbe), boundError(err)
	b.metrics.Paused(ctx, b.stage, true)
	b.log.WarnContext(ctx, "stage pauses: something that it needs does not answer; it tries again by itself and nothing is lost",
		"error", boundError(err))
	b.broadcast()
}

// degraded says since when and why the stage pauses; nil while it does not.
func (b *breaker) degraded() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.open {
		return nil
	}
	return fmt.Errorf("the stage pauses since %s and tries again by itself: %s", b.since.UTC().Format(time.RFC3339), b.why)
}

// othersFareWell counts how often the task found a dependency down although other records were handled since the last time.
func (b *breaker) othersFareWell(t *task) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.good != t.good {
		t.good = b.good
		t.downs++
	}
}

func (b *breaker) broadcast() {
	close(b.changed)
	b.changed = make(chan struct{})
}

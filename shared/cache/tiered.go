package cache

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/telemetry"
)

const (
	// After this many errors or slow answers in a row the circuit opens: nobody asks the hot tier for openTime. Then one call tries it.
	errorsToOpen = 3
	// slow is how long a call of the hot tier may take before it counts as an error: the truth answers sooner.
	slow     = 250 * time.Millisecond
	openTime = 5 * time.Second
)

// tiered asks a fast tier first and falls back on the truth.
type tiered struct {
	hot, truth Cache
	breaker    *gobreaker.CircuitBreaker[tensor.Matrix]
}

var _ Cache = (*tiered)(nil)

// errSlow marks a call of the hot tier that succeeded and took too long.
var errSlow = errors.New("answered too slowly")

// NewTiered returns a cache with hot in front of truth. Truth decides whether a call succeeds. Errors of hot are counted and
// otherwise ignored; after a few errors or slow answers in a row hot is left alone for a while.
func NewTiered(hot, truth Cache, deps Deps) Cache {
	return &tiered{hot: hot, truth: truth, breaker: newBreaker(deps)}
}

// newBreaker returns the circuit before the hot tier.
func newBreaker(deps Deps) *gobreaker.CircuitBreaker[tensor.Matrix] {
	return gobreaker.NewCircuitBreaker[tensor.Matrix](gobreaker.Settings{
		Timeout:      openTime,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= errorsToOpen },
		IsSuccessful: func(err error) bool { return err == nil || (errors.Is(err, ErrMiss) && !errors.Is(err, errSlow)) },
		IsExcluded:   func(err error) bool { return errors.Is(err, context.Canceled) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			open := to == gobreaker.StateOpen
			deps.Metrics.CircuitOpen(context.Background(), telemetry.TierRedis, open)
			if open {
				deps.Log.Warn("leaving Redis alone after repeated errors or slow answers", slog.Duration("for", openTime))
			}
		},
	})
}

func (c *tiered) Get(ctx context.Context, key string, want Shape) (tensor.Matrix, error) {
	t, err := c.ask(func() (tensor.Matrix, error) { return c.hot.Get(ctx, key, want) })
	if err == nil {
		return t, nil
	}
	t, err = c.truth.Get(ctx, key, want)
	if err != nil {
		return tensor.Matrix{}, err
	}
	c.warm(ctx, key, t)
	return t, nil
}

func (c *tiered) Put(ctx context.Context, key string, t tensor.Matrix) error {
	if err := c.truth.Put(ctx, key, t); err != nil {
		return err
	}
	c.warm(ctx, key, t)
	return nil
}

// warm stores a tensor in the hot tier. Its errors are counted there and mean nothing here.
func (c *tiered) warm(ctx context.Context, key string, t tensor.Matrix) {
	_, _ = c.ask(func() (tensor.Matrix, error) { return tensor.Matrix{}, c.hot.Put(ctx, key, t) })
}

// ask calls the hot tier through the circuit. A slow success is a fault for the circuit and a success for the caller.
func (c *tiered) ask(call func() (tensor.Matrix, error)) (tensor.Matrix, error) {
	t, err := c.breaker.Execute(func() (tensor.Matrix, error) {
		begun := time.Now()
		t, err := call()
		if (err == nil || errors.Is(err, ErrMiss)) && time.Since(begun) > slow {
			err = errors.Join(errSlow, err)
		}
		return t, err
	})
	if errors.Is(err, errSlow) && !errors.Is(err, ErrMiss) {
		err = nil
	}
	return t, err
}

// Shape asks the truth alone: a hint is no proof.
func (c *tiered) Shape(ctx context.Context, key string, want Shape) (Shape, error) {
	return c.truth.Shape(ctx, key, want)
}

func (c *tiered) Close() error { return errors.Join(c.hot.Close(), c.truth.Close()) }

package cache

import (
	"context"
	"errors"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/sony/gobreaker/v2"

	"github.com/larkstream/larkstream/engine/tensor"
)

// giveUp bounds one command to Redis with all that belongs to it: dialling, greeting, waiting for a connection. Without it, each of those steps of a
// Redis that hangs has a time limit of its own, and a record pays for all of them.
const giveUp = 2 * slow

// bounded is the hook of the Redis client that keeps giveUp.
type bounded struct{}

var _ redis.Hook = bounded{}

// DialHook implements redis.Hook.
func (bounded) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessHook implements redis.Hook.
func (bounded) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		ctx, cancel := context.WithTimeout(ctx, giveUp)
		defer cancel()
		return next(ctx, cmd)
	}
}

// ProcessPipelineHook implements redis.Hook.
func (bounded) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		ctx, cancel := context.WithTimeout(ctx, giveUp)
		defer cancel()
		return next(ctx, cmds)
	}
}

// Watched is a cache with a part that may be away. Open returns one where it is given Redis.
type Watched interface {
	// Watch asks now and then whether the part answers, until ctx ends.
	Watch(ctx context.Context) error
	// Degraded says that the part does not answer, and what that means; nil while it does.
	Degraded() error
}

var _ Watched = (*tiered)(nil)

var errDegraded = errors.New("no answer from Redis, so that embeddings are read from the object store, which takes longer; nothing is lost")

// pinger is a tier that can be asked whether it answers.
type pinger interface {
	Ping(ctx context.Context) error
}

// Watch implements Watched. It finds a Redis that is away at the start, or while nothing is asked of it, and one that has come back.
func (c *tiered) Watch(ctx context.Context) error {
	ticker := time.NewTicker(openTime)
	defer ticker.Stop()
	for {
		if hot, ok := c.hot.(pinger); ok {
			_, _ = c.ask(func() (tensor.Matrix, error) { return tensor.Matrix{}, hot.Ping(ctx) }) // the circuit counts it
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

// Degraded implements Watched.
func (c *tiered) Degraded() error {
	if c.breaker.State() == gobreaker.StateClosed && c.breaker.Counts().ConsecutiveFailures == 0 {
		return nil
	}
	return errDegraded
}

// Ping passes the question on.
func (c counted) Ping(ctx context.Context) error {
	if tier, ok := c.Cache.(pinger); ok {
		return tier.Ping(ctx)
	}
	return nil
}

func (c *redisCache) Ping(ctx context.Context) error { return c.client.Ping(ctx).Err() }

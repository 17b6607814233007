package cache

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/logging"
	"github.com/redis/go-redis/v9/maintnotifications"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/config"
)

const (
	redisPrefix = "lark:"
	// Redis is a short cut: an answer that takes longer than this is not worth waiting for.
	redisTimeout = time.Second
)

type redisCache struct {
	client *redis.Client
	ttl    time.Duration
	dtype  DType
}

var _ Cache = (*redisCache)(nil)

// NewRedis returns a cache in Redis; url is redis:// or rediss://[user:password@]host:port[/db]. The
// server need not be reachable yet. Calls are not retried: the truth lies elsewhere.
func NewRedis(url config.Secret, ttl time.Duration, dtype DType, deps Deps) (Cache, error) {
	opts, err := redis.ParseURL(url.Reveal())
	if err != nil {
		return nil, errors.New("opening Redis: not a redis:// URL") // the error would show the password
	}
	logging.Disable() // the client's own lines to standard error; errors are returned and counted
	opts.DialTimeout, opts.ReadTimeout, opts.WriteTimeout, opts.PoolTimeout = redisTimeout, redisTimeout, redisTimeout, redisTimeout
	opts.MaxRetries, opts.DialerRetries = -1, 1
	opts.ContextTimeoutEnabled = true
	opts.MaintNotificationsConfig = &maintnotifications.Config{Mode: maintnotifications.ModeDisabled}
	client := redis.NewClient(opts)
	client.AddHook(bounded{})
	return &redisCache{client: client, ttl: ttl, dtype: dtype}, nil
}

func (c *redisCache) Get(ctx context.Context, key string, want Shape) (tensor.Matrix, error) {
	if err := blob.CheckKey(key); err != nil {
		return tensor.Matrix{}, err
	}
	raw, err := c.client.Get(ctx, redisPrefix+key).Bytes()
	if errors.Is(err, redis.Nil) {
		return tensor.Matrix{}, miss(key)
	}
	if err != nil {
		return tensor.Matrix{}, fmt.Errorf("reading %s from Redis: %w", key, err)
	}
	t, err := unseal(key, raw, want)
	if err != nil {
		return tensor.Matrix{}, c.discard(ctx, key, err)
	}
	return t, nil
}

func (c *redisCache) Shape(ctx context.Context, key string, want Shape) (Shape, error) {
	if err := blob.CheckKey(key); err != nil {
		return Shape{}, err
	}
	var head *redis.StringCmd
	var size *redis.IntCmd
	_, err := c.client.TxPipelined(ctx, func(p redis.Pipeliner) error {
		head, size = p.GetRange(ctx, redisPrefix+key, 0, maxHead-1), p.StrLen(ctx, redisPrefix+key)
		return nil
	})
	if err != nil {
		return Shape{}, fmt.Errorf("looking for %s in Redis: %w", key, err)
	}
	if size.Val() == 0 { // Redis answers so for a key that it does not have
		return Shape{}, miss(key)
	}
	shape, err := shapeOf(key, []byte(head.Val()), size.Val(), want)
	if err != nil {
		return Shape{}, c.discard(ctx, key, err)
	}
	return shape, nil
}

// discard deletes a value that must not be used and makes it a miss.
func (c *redisCache) discard(ctx context.Context, key string, why error) error {
	if err := c.client.Del(ctx, redisPrefix+key).Err(); err != nil {
		return fmt.Errorf("discarding %s from Redis: %w", key, err)
	}
	return discarded(key, why)
}

func (c *redisCache) Put(ctx context.Context, key string, t tensor.Matrix) error {
	if err := blob.CheckKey(key); err != nil {
		return err
	}
	raw, err := seal(key, t, c.dtype)
	if err != nil {
		return err
	}
	if err := c.client.Set(ctx, redisPrefix+key, raw, c.ttl).Err(); err != nil {
		return fmt.Errorf("storing %s in Redis: %w", key, err)
	}
	return nil
}

func (c *redisCache) Close() error { return c.client.Close() }

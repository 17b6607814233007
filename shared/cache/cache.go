package cache

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// ErrMiss is returned for a key that is not in the cache.
var ErrMiss = errors.New("not in the cache")

// Cache stores tensors by key. A stored tensor may be evicted at any time, but never comes back changed. Methods are safe for
// concurrent use; a returned tensor belongs to the caller.
type Cache interface {
	// Get returns a tensor of the wanted shape or ErrMiss. A stored value that is damaged, belongs to another key, has another shape, or is not
	// finite is deleted and counts as a miss.
	Get(ctx context.Context, key string, want Shape) (tensor.Matrix, error)
	// Put stores a tensor, rounded to the cache's number format. It refuses a tensor that is not finite.
	Put(ctx context.Context, key string, t tensor.Matrix) error
	// Shape returns the shape of a stored tensor, or ErrMiss. It reads some hundred bytes; want and what is discarded are as in Get, but that
	// the numbers are good is known to Get alone.
	Shape(ctx context.Context, key string, want Shape) (Shape, error)
	// Close releases what the cache itself opened.
	Close() error
}

// Deps are what caches are made with.
type Deps struct {
	// Log takes rare events, such as Redis going away. Needed.
	Log *slog.Logger
	// Metrics counts look-ups and writes. Needed.
	Metrics *telemetry.CacheMetrics
	// DType is the number format of new values; zero means F16.
	DType DType
	// TTL of values in Redis; zero means DefaultTTL.
	TTL time.Duration
	// Hot stands for Redis where it is set: the simulator has no network of the machine's.
	Hot Cache
}

// DefaultTTL is how long a value stays in Redis after it was last written there.
const DefaultTTL = 7 * 24 * time.Hour

func (d Deps) check() (Deps, error) {
	if d.Log == nil || d.Metrics == nil {
		return d, errors.New("opening cache: log and metrics are needed")
	}
	if d.DType == 0 {
		d.DType = F16
	}
	if d.TTL == 0 {
		d.TTL = DefaultTTL
	}
	return d, nil
}

// Open returns the cache of a deployment: blobs alone when redisURL is empty, else Redis in front of
// them. Redis need not be reachable, now or later. The store stays the caller's to close.
func Open(_ context.Context, redisURL config.Secret, store *blob.Store, deps Deps) (Cache, error) {
	deps, err := deps.check()
	if err != nil {
		return nil, err
	}
	if store == nil {
		return nil, errors.New("opening cache: an object store is needed")
	}
	truth := counted{Cache: NewBlob(store, deps.DType), tier: telemetry.TierBlob, metrics: deps.Metrics}
	hot, err := deps.Hot, error(nil)
	switch {
	case hot != nil:
	case redisURL == "":
		return truth, nil
	default:
		if hot, err = NewRedis(redisURL, deps.TTL, deps.DType, deps); err != nil {
			return nil, err
		}
	}
	//nolint:contextcheck // the circuit changes its state in no one's call
	return NewTiered(counted{Cache: hot, tier: telemetry.TierRedis, metrics: deps.Metrics}, truth, deps), nil
}

// counted counts the look-ups and writes of one tier.
type counted struct {
	Cache
	tier    string
	metrics *telemetry.CacheMetrics
}

func (c counted) Get(ctx context.Context, key string, want Shape) (tensor.Matrix, error) {
	t, err := c.Cache.Get(ctx, key, want)
	c.count(ctx, err)
	return t, err
}

func (c counted) Shape(ctx context.Context, key string, want Shape) (Shape, error) {
	s, err := c.Cache.Shape(ctx, key, want)
	c.count(ctx, err)
	return s, err
}

// count counts a look-up, and what it has discarded.
func (c counted) count(ctx context.Context, err error) {
	c.metrics.Request(ctx, c.tier, lookupResult(err))
	var bad *unusable
	if errors.As(err, &bad) {
		c.metrics.Discarded(ctx, c.tier, bad.reason)
	}
}

func (c counted) Put(ctx context.Context, key string, t tensor.Matrix) error {
	err := c.Cache.Put(ctx, key, t)
	result := telemetry.ResultOK
	if err != nil {
		result = telemetry.ResultError
	}
	c.metrics.Write(ctx, c.tier, result)
	return err
}

func lookupResult(err error) string {
	switch {
	case err == nil:
		return telemetry.ResultHit
	case errors.Is(err, ErrMiss):
		return telemetry.ResultMiss
	}
	return telemetry.ResultError
}

// miss is an ErrMiss that names its key.
func miss(key string) error { return fmt.Errorf("reading %s: %w", key, ErrMiss) }

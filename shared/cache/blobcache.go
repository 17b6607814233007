package cache

import (
	"context"
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/blob"
	"github.com/larkstream/larkstream/shared/telemetry"
)

type blobCache struct {
	store *blob.Store
	dtype DType
}

var _ Cache = blobCache{}

// NewBlob returns a cache in an object store, which stays the caller's to close.
func NewBlob(store *blob.Store, dtype DType) Cache { return blobCache{store: store, dtype: dtype} }

func (c blobCache) Get(ctx context.Context, key string, want Shape) (tensor.Matrix, error) {
	raw, err := c.store.GetBytes(ctx, key, maxStored)
	if err != nil {
		return tensor.Matrix{}, c.fault(ctx, key, err)
	}
	t, err := unseal(key, raw, want)
	if err != nil {
		return tensor.Matrix{}, c.discard(ctx, key, err)
	}
	return t, nil
}

func (c blobCache) Shape(ctx context.Context, key string, want Shape) (Shape, error) {
	raw, size, err := c.store.GetHead(ctx, key, maxHead)
	if err != nil {
		return Shape{}, c.fault(ctx, key, err)
	}
	shape, err := shapeOf(key, raw, size, want)
	if err != nil {
		return Shape{}, c.discard(ctx, key, err)
	}
	return shape, nil
}

// fault is what an error of the store means.
func (c blobCache) fault(ctx context.Context, key string, err error) error {
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return miss(key)
	case errors.Is(err, blob.ErrTooLarge):
		return c.discard(ctx, key, &unusable{telemetry.DiscardCorrupt, err})
	}
	return err
}

// discard deletes a value that must not be used, so that Shape does not promise it again, and makes it a miss.
func (c blobCache) discard(ctx context.Context, key string, why error) error {
	if err := c.store.Delete(ctx, key); err != nil {
		return errors.Join(fmt.Errorf("reading %s: %w", key, why), err)
	}
	return discarded(key, why)
}

func (c blobCache) Put(ctx context.Context, key string, t tensor.Matrix) error {
	if err := blob.CheckKey(key); err != nil {
		return err
	}
	raw, err := seal(key, t, c.dtype)
	if err != nil {
		return err
	}
	return c.store.PutBytes(ctx, key, raw)
}

func (c blobCache) Close() error { return nil }

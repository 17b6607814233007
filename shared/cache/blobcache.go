package cache

import (
	"context"
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/shared/blob"
)

type blobCache struct {
	store *blob.Store
	dtype DType
}

var _ Cache = blobCache{}

// NewBlob returns a cache in an object store, which stays the caller's to close.
func NewBlob(store *blob.Store, dtype DType) Cache { return blobCache{store: store, dtype: dtype} }

func (c blobCache) Get(ctx context.Context, key string) (tensor.Matrix, error) {
	raw, err := c.store.GetBytes(ctx, key, MaxEncoded)
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return tensor.Matrix{}, miss(key)
	case errors.Is(err, blob.ErrTooLarge):
		return tensor.Matrix{}, c.discard(ctx, key, err)
	case err != nil:
		return tensor.Matrix{}, err
	}
	t, err := Decode(raw)
	if err != nil {
		return tensor.Matrix{}, c.discard(ctx, key, err)
	}
	return t, nil
}

// discard deletes a value that cannot be read, so that Has does not promise it again, and makes it a miss.
func (c blobCache) discard(ctx context.Context, key string, why error) error {
	if err := c.store.Delete(ctx, key); err != nil {
		return errors.Join(fmt.Errorf("reading %s: %w", key, why), err)
	}
	return fmt.Errorf("%w: %w", miss(key), why)
}

func (c blobCache) Put(ctx context.Context, key string, t tensor.Matrix) error {
	raw, err := Encode(t, c.dtype)
	if err != nil {
		return fmt.Errorf("storing %s: %w", key, err)
	}
	return c.store.PutBytes(ctx, key, raw)
}

func (c blobCache) Has(ctx context.Context, key string) (bool, error) {
	return c.store.Exists(ctx, key)
}

func (c blobCache) Close() error { return nil }

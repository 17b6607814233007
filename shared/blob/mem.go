package blob

import (
	"bytes"
	"context"
	"io"
	"strings"
	"sync"
	"time"
)

// memBucket keeps objects in memory, for tests.
type memBucket struct {
	mu      sync.RWMutex
	objects map[string]memObject
}

type memObject struct {
	data []byte
	time time.Time
}

func newMemBucket() *memBucket { return &memBucket{objects: map[string]memObject{}} }

func (b *memBucket) get(ctx context.Context, key string) (memObject, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	o, ok := b.objects[key]
	if !ok {
		return o, ErrNotFound
	}
	return o, ctx.Err()
}

func (b *memBucket) put(ctx context.Context, key string, r io.Reader) error {
	data, err := io.ReadAll(r)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.objects[key] = memObject{data: data, time: time.Now()}
	return nil
}

func (b *memBucket) open(ctx context.Context, key string, _ int64) (io.ReadCloser, int64, error) {
	o, err := b.get(ctx, key)
	if err != nil {
		return nil, 0, err
	}
	return io.NopCloser(bytes.NewReader(o.data)), int64(len(o.data)), nil
}

func (b *memBucket) stat(ctx context.Context, key string) (object, error) {
	o, err := b.get(ctx, key)
	return object{key: key, size: int64(len(o.data)), time: o.time}, err
}

func (b *memBucket) touch(ctx context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	o, ok := b.objects[key]
	if !ok {
		return ErrNotFound
	}
	o.time = time.Now()
	b.objects[key] = o
	return ctx.Err()
}

func (b *memBucket) remove(ctx context.Context, key string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.objects, key)
	return ctx.Err()
}

// each calls fn without the lock, so that fn may remove objects.
func (b *memBucket) each(ctx context.Context, prefix string, fn func(object) error) error {
	b.mu.RLock()
	var found []object
	for key, o := range b.objects {
		if strings.HasPrefix(key, prefix) {
			found = append(found, object{key: key, size: int64(len(o.data)), time: o.time})
		}
	}
	b.mu.RUnlock()
	for _, o := range found {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := fn(o); err != nil {
			return err
		}
	}
	return nil
}

func (b *memBucket) close() error { return nil }

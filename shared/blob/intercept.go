package blob

import (
	"context"
	"io"
)

// Op is what is done to an object.
type Op string

// The operations that Intercept tells of.
const (
	OpPut    Op = "put"
	OpGet    Op = "get"
	OpStat   Op = "stat"
	OpTouch  Op = "touch"
	OpDelete Op = "delete"
	OpList   Op = "list"
)

// Intercept gives a second view of the store that calls hook around each operation. do does the operation; hook may do things before and
// after it, leave it out, and return another error. Closing the view does not close the store.
func (s *Store) Intercept(hook func(ctx context.Context, op Op, key string, do func() error) error) *Store {
	return newStore(&intercepted{bucket: s.bucket, hook: hook})
}

type intercepted struct {
	bucket
	hook func(ctx context.Context, op Op, key string, do func() error) error
}

func (i *intercepted) put(ctx context.Context, key string, r io.Reader) error {
	return i.hook(ctx, OpPut, key, func() error { return i.bucket.put(ctx, key, r) })
}

func (i *intercepted) open(ctx context.Context, key string, first int64) (r io.ReadCloser, size int64, err error) {
	err = i.hook(ctx, OpGet, key, func() (err error) {
		r, size, err = i.bucket.open(ctx, key, first)
		return err
	})
	if err != nil && r != nil {
		_ = r.Close()
		r = nil
	}
	return r, size, err
}

func (i *intercepted) stat(ctx context.Context, key string) (o object, err error) {
	err = i.hook(ctx, OpStat, key, func() (err error) {
		o, err = i.bucket.stat(ctx, key)
		return err
	})
	return o, err
}

func (i *intercepted) touch(ctx context.Context, key string) error {
	return i.hook(ctx, OpTouch, key, func() error { return i.bucket.touch(ctx, key) })
}

func (i *intercepted) remove(ctx context.Context, key string) error {
	return i.hook(ctx, OpDelete, key, func() error { return i.bucket.remove(ctx, key) })
}

func (i *intercepted) each(ctx context.Context, prefix string, fn func(object) error) error {
	return i.hook(ctx, OpList, prefix, func() error { return i.bucket.each(ctx, prefix, fn) })
}

func (i *intercepted) close() error { return nil }

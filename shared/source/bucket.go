package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/larkstream/larkstream/shared/blob"
)

// bucket is a bucket, or what lies below a prefix of it.
type bucket struct {
	scheme, name, prefix string
	objects              *blob.Bucket
}

func openBucket(text string) (*bucket, error) {
	objects, p, err := blob.OpenPrefix(text)
	if err != nil {
		return nil, err
	}
	return &bucket{scheme: p.Scheme, name: p.Bucket, prefix: p.Path, objects: objects}, nil
}

func (b *bucket) holds(a address) bool {
	return a.scheme == b.scheme && a.bucket == b.name && strings.HasPrefix(a.path+"/", b.prefix)
}

func (b *bucket) open(ctx context.Context, a address) (*Object, error) {
	if !strings.HasPrefix(a.path, b.prefix) {
		return nil, ErrNotAllowed
	}
	if a.path == "" || strings.HasSuffix(a.path, "/") {
		return nil, fmt.Errorf("%w: it is a prefix", ErrNotFile)
	}
	body, size, err := b.objects.Open(ctx, a.path)
	if err != nil {
		return nil, b.fault(err)
	}
	return &Object{ReadCloser: body, ReaderAt: bucketAt{ctx, b, a.path}, Bytes: size}, nil
}

// bucketAt reads parts of an object.
type bucketAt struct {
	ctx context.Context //nolint:containedctx // io.ReaderAt has no other way
	*bucket
	object string
}

// ReadAt implements io.ReaderAt.
func (b bucketAt) ReadAt(p []byte, from int64) (int, error) {
	n, err := b.objects.ReadAt(b.ctx, b.object, p, from)
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.fault(err)
	}
	return n, err
}

func (b *bucket) walk(ctx context.Context, a address, fn func(Entry) error) error {
	var ours error
	err := b.objects.Each(ctx, a.path, func(name string, size int64, modified time.Time) error {
		if strings.HasSuffix(name, "/") || !strings.HasPrefix(name, b.prefix) {
			return nil // what some tools put where a folder would be; a neighbour whose name begins alike
		}
		ours = fn(Entry{URI: address{scheme: b.scheme, bucket: b.name, path: name}.String(), Bytes: size, Modified: modified})
		return ours
	})
	if err != nil && ours == nil && ctx.Err() == nil {
		return b.fault(err)
	}
	return err
}

func (b *bucket) fault(err error) error {
	switch {
	case errors.Is(err, blob.ErrNotFound):
		return ErrMissing
	case errors.Is(err, blob.ErrDenied):
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return fmt.Errorf("%w: %w", ErrUnavailable, err)
}

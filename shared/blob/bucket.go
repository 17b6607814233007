package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/minio/minio-go/v7"
)

// ErrDenied is returned where the credentials do not suffice.
var ErrDenied = errors.New("access to the object is denied")

// Bucket reads a bucket of somebody else's, whose names need not be keys of ours. Its methods are safe for concurrent use.
type Bucket struct{ s3 *s3Bucket }

// OpenBucket opens s3://bucket with the parameters that Open takes. Nothing is sent to a server before the first use.
func OpenBucket(rawURL string) (*Bucket, error) {
	u, err := url.Parse(rawURL)
	if err != nil || u.Scheme != "s3" {
		return nil, errors.New("opening bucket: not an s3:// URL") // the URL may hold credentials
	}
	b, err := openS3(u)
	if err != nil {
		return nil, fmt.Errorf("opening bucket s3://%s: %w", u.Host, err)
	}
	return &Bucket{s3: b}, nil
}

// Open opens an object and tells its size in bytes; the caller closes it. Errors are ErrNotFound, ErrDenied, and others that may pass.
func (b *Bucket) Open(ctx context.Context, name string) (io.ReadCloser, int64, error) {
	body, size, err := b.s3.open(ctx, name, 0)
	return body, size, denied(err)
}

// ReadAt reads len(p) bytes of an object from a byte on, as an io.ReaderAt does. Errors are those of Open.
func (b *Bucket) ReadAt(ctx context.Context, name string, p []byte, from int64) (int, error) {
	n, err := b.s3.readAt(ctx, name, p, from)
	return n, denied(err)
}

// Each calls fn for every object whose name begins with prefix, in the order of names. An error of fn ends it and is returned.
func (b *Bucket) Each(ctx context.Context, prefix string, fn func(name string, size int64, modified time.Time) error) error {
	return denied(b.s3.each(ctx, prefix, func(o object) error { return fn(o.key, o.size, o.time) }))
}

func denied(err error) error {
	var response minio.ErrorResponse
	if errors.As(err, &response) && response.Code == minio.AccessDenied {
		return fmt.Errorf("%w: %w", ErrDenied, err)
	}
	return err
}

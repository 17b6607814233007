package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
)

// ErrDenied is returned where the credentials do not suffice.
var ErrDenied = errors.New("access to the object is denied")

// Bucket is a bucket of somebody else's, whose names need not be keys of ours. Its methods are safe for concurrent use.
type Bucket struct{ s3 *s3Bucket }

// googleEndpoint speaks S3 with HMAC keys.
const googleEndpoint = "storage.googleapis.com"

// Prefix names a part of a bucket.
type Prefix struct {
	// Scheme is s3 or gs.
	Scheme, Bucket string
	// Path ends with a slash, unless it is empty: then it is the whole bucket.
	Path string
}

// OpenPrefix opens the bucket of s3://bucket/prefix or gs://bucket/prefix, with the parameters that Open takes behind it. Nothing is sent to a server before the
// first use.
func OpenPrefix(text string) (*Bucket, Prefix, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || (u.Scheme != "s3" && u.Scheme != "gs") {
		return nil, Prefix{}, errors.New("a bucket is s3://bucket/prefix?parameters or gs://bucket/prefix?parameters") // the text may hold credentials
	}
	p := Prefix{Scheme: u.Scheme, Bucket: u.Host, Path: strings.TrimPrefix(u.Path, "/")}
	if p.Path != "" && !strings.HasSuffix(p.Path, "/") {
		p.Path += "/"
	}
	params := u.Query()
	if u.Scheme == "gs" && params.Get("endpoint") == "" {
		params.Set("endpoint", googleEndpoint)
	}
	b, err := OpenBucket("s3://" + u.Host + "?" + params.Encode())
	return b, p, err
}

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

// Put writes an object, which appears as a whole or not at all. An object of that name is replaced. Up to 8 MiB are held in memory.
func (b *Bucket) Put(ctx context.Context, name string, r io.Reader) error {
	return denied(b.s3.put(ctx, name, r))
}

// Delete removes an object; it is no error if there is none.
func (b *Bucket) Delete(ctx context.Context, name string) error {
	if err := b.s3.remove(ctx, name); err != nil && !errors.Is(err, ErrNotFound) {
		return denied(err)
	}
	return nil
}

// Close ends the connections that nobody uses.
func (b *Bucket) Close() error { return b.s3.close() }

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

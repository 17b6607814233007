package blob

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/s3utils"

	"github.com/larkstream/larkstream/shared/stall"
)

const (
	// The longest that a server may be silent while a call waits for it; the URL's parameter timeout sets another. It bounds every call, but not the time of a
	// large object that keeps moving.
	s3Silence = time.Minute
	// Objects up to this size are sent in one request, larger ones in parts of it; each writer holds that much memory.
	s3PartBytes = 8 << 20
	// A request that fails in a way that may pass is tried this often, with growing pauses between.
	s3Tries = 3
)

// s3Bucket is a bucket of a server that speaks S3.
type s3Bucket struct {
	name      string
	client    minio.Core
	transport *http.Transport
}

// dialStalling dials connections that fail after a silence.
func dialStalling(silence time.Duration) func(ctx context.Context, network, addr string) (net.Conn, error) {
	dialer := net.Dialer{Timeout: silence, KeepAlive: 30 * time.Second}
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		return stall.Wrap(conn, silence), nil
	}
}

func openS3(u *url.URL) (*s3Bucket, error) {
	opts, err := parseS3(u)
	if err != nil {
		return nil, err
	}
	transport, err := minio.DefaultTransport(opts.secure)
	if err != nil {
		return nil, err
	}
	transport.DialContext, transport.ResponseHeaderTimeout = dialStalling(opts.silence), opts.silence
	client, err := minio.New(opts.endpoint, &minio.Options{
		Creds: opts.credentials(transport), Secure: opts.secure, Transport: transport,
		Region: opts.region, BucketLookup: opts.lookup, MaxRetries: s3Tries,
	})
	if err != nil {
		return nil, err
	}
	client.SetS3EnableDualstack(false) // dual-stack names bypass the private endpoints of a VPC
	return &s3Bucket{name: opts.bucket, client: minio.Core{Client: client}, transport: transport}, nil
}

// put sends an object in one request where it fits, with the digest of its bytes, which the server checks. A larger one goes
// in parts; an upload that fails leaves none behind.
func (b *s3Bucket) put(ctx context.Context, key string, r io.Reader) error {
	var head bytes.Buffer
	n, err := io.CopyN(&head, r, s3PartBytes)
	opts := minio.PutObjectOptions{
		ContentType: "application/octet-stream", PartSize: s3PartBytes,
		// Digests go in headers, not in chunks within the body: each S3 server reads those. Google takes an object of unknown
		// length in one chunked request, for which the library has no digest.
		DisableContentSha256: true, SendContentMd5: !s3utils.IsGoogleEndpoint(*b.client.EndpointURL()),
	}
	switch {
	case errors.Is(err, io.EOF):
		digest := sha256.Sum256(head.Bytes())
		_, err = b.client.PutObject(ctx, b.name, key, bytes.NewReader(head.Bytes()), n, "", hex.EncodeToString(digest[:]), opts)
	case err == nil:
		_, err = b.client.Client.PutObject(ctx, b.name, key, io.MultiReader(&head, r), -1, opts)
	}
	return err
}

func (b *s3Bucket) open(ctx context.Context, key string, first int64) (io.ReadCloser, int64, error) {
	var opts minio.GetObjectOptions
	if first > 0 {
		if err := opts.SetRange(0, first-1); err != nil {
			return nil, 0, err
		}
	}
	body, info, header, err := b.client.GetObject(ctx, b.name, key, opts)
	if first > 0 && minio.ToErrorResponse(err).Code == minio.InvalidRange { // an empty object has no first byte
		return http.NoBody, 0, nil
	}
	if err != nil {
		return nil, 0, noSuchKey(err)
	}
	// A server that honours the range tells the whole size behind the slash: bytes 0-599/2400020.
	if _, total, partial := strings.Cut(header.Get("Content-Range"), "/"); partial {
		if info.Size, err = strconv.ParseInt(total, 10, 64); err != nil {
			return nil, 0, errors.Join(errors.New("the server does not tell the object's size"), body.Close())
		}
	}
	if info.Size < 0 {
		return nil, 0, errors.Join(errors.New("the server does not tell the object's size"), body.Close())
	}
	return body, info.Size, nil
}

func (b *s3Bucket) readAt(ctx context.Context, key string, p []byte, from int64) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	var opts minio.GetObjectOptions
	if err := opts.SetRange(from, from+int64(len(p))-1); err != nil {
		return 0, err
	}
	body, _, _, err := b.client.GetObject(ctx, b.name, key, opts)
	if minio.ToErrorResponse(err).Code == minio.InvalidRange {
		return 0, io.EOF
	}
	if err != nil {
		return 0, noSuchKey(err)
	}
	defer func() { _ = body.Close() }() // only read
	n, err := io.ReadFull(body, p)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		err = io.EOF // as callers of an io.ReaderAt compare it
	}
	return n, err
}

func (b *s3Bucket) stat(ctx context.Context, key string) (object, error) {
	info, err := b.client.StatObject(ctx, b.name, key, minio.StatObjectOptions{})
	return object{key: key, size: info.Size, time: info.LastModified}, noSuchKey(err)
}

// touch copies the object onto itself within the server; S3 allows that only together with new metadata.
func (b *s3Bucket) touch(ctx context.Context, key string) error {
	_, err := b.client.Client.CopyObject(ctx,
		minio.CopyDestOptions{Bucket: b.name, Object: key, ReplaceMetadata: true, ContentType: "application/octet-stream"},
		minio.CopySrcOptions{Bucket: b.name, Object: key})
	return noSuchKey(err)
}

func (b *s3Bucket) remove(ctx context.Context, key string) error {
	return noSuchKey(b.client.RemoveObject(ctx, b.name, key, minio.RemoveObjectOptions{}))
}

func (b *s3Bucket) each(ctx context.Context, prefix string, fn func(object) error) error {
	for o := range b.client.ListObjectsIter(ctx, b.name, minio.ListObjectsOptions{Prefix: prefix, Recursive: true}) {
		if o.Err != nil {
			return o.Err
		}
		if err := fn(object{key: o.Key, size: o.Size, time: o.LastModified}); err != nil {
			return err
		}
	}
	return ctx.Err() // the listing ends without an error when ctx does
}

func (b *s3Bucket) close() error {
	b.transport.CloseIdleConnections()
	return nil
}

// noSuchKey tells a missing object from a missing bucket, which is a fault of the configuration.
func noSuchKey(err error) error {
	var response minio.ErrorResponse
	switch {
	case !errors.As(err, &response):
		return err
	case response.Code == minio.NoSuchKey:
		return ErrNotFound
	case response.Code == minio.NoSuchBucket:
		return fmt.Errorf("%w; create the bucket or correct the store's URL", err)
	}
	return err
}

package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	"gocloud.dev/blob/memblob"
	"gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"
)

// Prefixes of keys. Sweep knows what may go first.
const (
	PrefixAudio     = "audio/"
	PrefixPCM       = "pcm/"
	PrefixPlan      = "plan/"
	PrefixPrompt    = "prompt/"
	PrefixEmbedding = "emb/"
)

// Objects are opaque. With a content type given, the library does not guess one.
const contentType = "application/octet-stream"

var (
	// ErrNotFound is returned for an object that does not exist.
	ErrNotFound = errors.New("no such object")
	// ErrTooLarge is returned for an object over the limit given.
	ErrTooLarge = errors.New("object is over its size limit")
	// ErrBadKey is returned for a key that is not well formed.
	ErrBadKey = errors.New("bad object key")
)

// Store is an object store. Its methods are safe for concurrent use.
type Store struct {
	bucket *blob.Bucket
	dir    string // of a file:// store, else ""
}

// Open opens a store by URL. A file:// folder is created when it does not exist; file://./dir is
// relative to the working directory. S3 credentials come from the environment, as the AWS SDK reads them.
func Open(ctx context.Context, rawURL string) (*Store, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("opening object store: not a URL") // the URL may hold credentials
	}
	switch u.Scheme {
	case fileblob.Scheme:
		return openDir(u)
	case memblob.Scheme:
		return &Store{bucket: memblob.OpenBucket(nil)}, nil
	case s3blob.Scheme:
		bucket, err := new(s3blob.URLOpener).OpenBucketURL(ctx, u)
		if err != nil {
			return nil, fmt.Errorf("opening object store s3://%s: %w", u.Host, err)
		}
		return &Store{bucket: bucket}, nil
	}
	return nil, fmt.Errorf("opening object store: scheme %q is not file, s3 or mem", u.Scheme)
}

func openDir(u *url.URL) (*Store, error) {
	path := u.Path
	switch u.Host {
	case "", "localhost":
	case ".":
		path = "." + path
	default:
		return nil, fmt.Errorf("opening object store: file://%s names a host; write file:///dir or file://./dir", u.Host)
	}
	if u.RawQuery != "" || path == "" {
		return nil, errors.New("opening object store: a file:// URL is a path and nothing else")
	}
	dir, err := filepath.Abs(filepath.FromSlash(path))
	if err != nil {
		return nil, fmt.Errorf("opening object store: %w", err)
	}
	// Temporary files lie beside their objects, so that the rename stays within one file system.
	bucket, err := fileblob.OpenBucket(dir, &fileblob.Options{
		CreateDir: true, DirFileMode: 0o750, NoTempDir: true, Metadata: fileblob.MetadataDontWrite,
	})
	if err != nil {
		return nil, fmt.Errorf("opening object store: %w", err)
	}
	return &Store{bucket: bucket, dir: dir}, nil
}

// Close releases the store.
func (s *Store) Close() error { return s.bucket.Close() }

// Put stores what r gives under key, replaces an older object, and returns the size in bytes. Readers see the old object
// or the new object, never a part of one. More than limit bytes give ErrTooLarge. After any error the old object is
// still there. Audio, which nobody can make again, is on disk before Put returns.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, limit int64) (int64, error) {
	if err := CheckKey(key); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var file *os.File
	w, err := s.bucket.NewWriter(ctx, key, &blob.WriterOptions{
		ContentType: contentType, DisableContentTypeDetection: true,
		BeforeWrite: func(as func(any) bool) error { as(&file); return nil },
	})
	if err != nil {
		return 0, fmt.Errorf("writing object %s: %w", key, err)
	}
	n, err := io.Copy(w, io.LimitReader(r, limit+1))
	if err == nil && n > limit {
		err = ErrTooLarge
	}
	if err == nil && file != nil && strings.HasPrefix(key, PrefixAudio) {
		err = file.Sync()
	}
	if err != nil {
		cancel() // makes Close drop what was written
		_ = w.Close()
		return 0, fmt.Errorf("writing object %s: %w", key, err)
	}
	if err := w.Close(); err != nil {
		return 0, fmt.Errorf("writing object %s: %w", key, err)
	}
	return n, nil
}

// PutBytes stores data under key, as Put does.
func (s *Store) PutBytes(ctx context.Context, key string, data []byte) error {
	_, err := s.Put(ctx, key, bytes.NewReader(data), int64(len(data)))
	return err
}

// Get opens an object; the caller closes it. The error is ErrNotFound where there is none.
func (s *Store) Get(ctx context.Context, key string) (io.ReadCloser, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	r, err := s.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return nil, wrap("reading", key, err)
	}
	return r, nil
}

// GetBytes reads a whole object; an object of more than limit bytes gives ErrTooLarge.
func (s *Store) GetBytes(ctx context.Context, key string, limit int64) ([]byte, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	r, err := s.bucket.NewReader(ctx, key, nil)
	if err != nil {
		return nil, wrap("reading", key, err)
	}
	defer func() { _ = r.Close() }()
	if r.Size() > limit {
		return nil, wrap("reading", key, ErrTooLarge)
	}
	data := make([]byte, r.Size())
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, wrap("reading", key, err)
	}
	return data, nil
}

// Exists reports whether an object is there.
func (s *Store) Exists(ctx context.Context, key string) (bool, error) {
	if err := CheckKey(key); err != nil {
		return false, err
	}
	ok, err := s.bucket.Exists(ctx, key)
	if err != nil {
		return false, wrap("looking for", key, err)
	}
	return ok, nil
}

// Size returns an object's size in bytes, or ErrNotFound.
func (s *Store) Size(ctx context.Context, key string) (int64, error) {
	if err := CheckKey(key); err != nil {
		return 0, err
	}
	attrs, err := s.bucket.Attributes(ctx, key)
	if err != nil {
		return 0, wrap("looking for", key, err)
	}
	return attrs.Size, nil
}

// Delete removes an object; one that does not exist is no error.
func (s *Store) Delete(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	if err := s.remove(ctx, key); err != nil {
		return wrap("deleting", key, err)
	}
	return nil
}

func (s *Store) remove(ctx context.Context, key string) error {
	if err := s.bucket.Delete(ctx, key); err != nil && gcerrors.Code(err) != gcerrors.NotFound {
		return err
	}
	return nil
}

// LocalFile returns the path of a file with the object, for programs that read only files. In a file:// store it is the
// object itself, which must not be changed; in other stores it is a temporary copy. The caller must call cleanup, which
// is never nil.
func (s *Store) LocalFile(ctx context.Context, key string) (path string, cleanup func(), err error) {
	nothing := func() {}
	if err := CheckKey(key); err != nil {
		return "", nothing, err
	}
	if s.dir != "" {
		path := filepath.Join(s.dir, filepath.FromSlash(key))
		info, err := os.Stat(path)
		if err != nil || info.IsDir() {
			return "", nothing, wrap("reading", key, ErrNotFound)
		}
		return path, nothing, nil
	}
	r, err := s.Get(ctx, key)
	if err != nil {
		return "", nothing, err
	}
	defer r.Close()
	path, err = tempCopy(r)
	if err != nil {
		return "", nothing, wrap("copying", key, err)
	}
	return path, func() { _ = os.Remove(path) }, nil
}

func tempCopy(r io.Reader) (string, error) {
	f, err := os.CreateTemp("", "lark-blob-*")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, r)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// wrap says what was being done and turns the library's not-found into ErrNotFound.
func wrap(doing, key string, err error) error {
	if gcerrors.Code(err) == gcerrors.NotFound {
		err = ErrNotFound
	}
	return fmt.Errorf("%s object %s: %w", doing, key, err)
}

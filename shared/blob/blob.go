package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"

	"golang.org/x/sync/semaphore"
)

// Prefixes of keys. Sweep knows what may go first.
const (
	PrefixAudio     = "audio/"
	PrefixPCM       = "pcm/"
	PrefixPlan      = "plan/"
	PrefixPrompt    = "prompt/"
	PrefixEmbedding = "emb/"
	PrefixAnswer    = "answer/"
)

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
	bucket bucket
	// sweeping is held while a sweep looks at an object for the last time and deletes it, and while Touch makes an object young.
	sweeping *semaphore.Weighted
}

// bucket is what a kind of store does. The Store has checked the keys. Where there is no object the error is ErrNotFound.
type bucket interface {
	// put stores what r gives; unless r ends with io.EOF, and after any other error, the old object stands.
	put(ctx context.Context, key string, r io.Reader) error
	// open returns an object and its size in bytes. If first is above 0, the caller reads no more than so many bytes of it, and the reader
	// may end after them.
	open(ctx context.Context, key string, first int64) (io.ReadCloser, int64, error)
	stat(ctx context.Context, key string) (object, error)
	// touch makes the object as young as one just written.
	touch(ctx context.Context, key string) error
	remove(ctx context.Context, key string) error
	// each calls fn for every object below prefix, in no certain order; fn may remove it.
	each(ctx context.Context, prefix string, fn func(object) error) error
	close() error
}

// Open opens a store by URL. A file:// folder is created when it does not exist; file://./dir is
// relative to the working directory. An s3:// URL takes the parameters endpoint, region, profile, use_path_style,
// disable_https, anonymous and timeout, the longest silence of the server (1m); credentials come from the environment, the AWS tools' credentials file, or the role of
// the pod or machine. Nothing is sent to a server before the first use.
func Open(_ context.Context, rawURL string) (*Store, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("opening object store: not a URL") // the URL may hold credentials
	}
	switch u.Scheme {
	case "file":
		dir, err := openDir(u)
		if err != nil {
			return nil, err
		}
		return newStore(dir), nil
	case "mem":
		return newStore(newMemBucket()), nil
	case "s3":
		b, err := openS3(u)
		if err != nil {
			return nil, fmt.Errorf("opening object store s3://%s: %w", u.Host, err)
		}
		return newStore(b), nil
	}
	return nil, fmt.Errorf("opening object store: scheme %q is not file, s3 or mem", u.Scheme)
}

func newStore(b bucket) *Store { return &Store{bucket: b, sweeping: semaphore.NewWeighted(1)} }

// Close releases the store.
func (s *Store) Close() error { return s.bucket.close() }

// Put stores what r gives under key, replaces an older object, and returns the size in bytes. Readers see the old object
// or the new object, never a part of one. More than limit bytes give ErrTooLarge. After any error the old object is
// still there. Audio, which nobody can make again, is on disk before Put returns.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, limit int64) (int64, error) {
	if err := CheckKey(key); err != nil {
		return 0, err
	}
	counted := &limited{r: r, limit: limit}
	if err := s.bucket.put(ctx, key, counted); err != nil {
		if counted.failed {
			return 0, fmt.Errorf("writing object %s: %w", key, err)
		}
		return 0, wrap("writing", key, err)
	}
	return counted.n, nil
}

// limited ends in ErrTooLarge once r has given more than limit bytes.
type limited struct {
	r        io.Reader
	n, limit int64
	failed   bool // r has failed, and not the store
}

func (l *limited) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	l.n += int64(n)
	if l.n > l.limit {
		return 0, ErrTooLarge
	}
	if err != nil && !errors.Is(err, io.EOF) {
		l.failed = true
	}
	return n, err
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
	r, _, err := s.bucket.open(ctx, key, 0)
	if err != nil {
		return nil, wrap("reading", key, err)
	}
	return reading{r, key}, nil
}

// GetBytes reads a whole object; an object of more than limit bytes gives ErrTooLarge.
func (s *Store) GetBytes(ctx context.Context, key string, limit int64) ([]byte, error) {
	if err := CheckKey(key); err != nil {
		return nil, err
	}
	r, size, err := s.bucket.open(ctx, key, 0)
	if err != nil {
		return nil, wrap("reading", key, err)
	}
	defer func() { _ = r.Close() }()
	if size > limit {
		return nil, wrap("reading", key, ErrTooLarge)
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(r, data); err != nil {
		return nil, wrap("reading", key, err)
	}
	return data, nil
}

// GetHead reads the first n bytes of an object, or all of a shorter one, and tells the size of the whole object in bytes. No more than the head
// is transferred.
func (s *Store) GetHead(ctx context.Context, key string, n int64) (head []byte, size int64, err error) {
	if err := CheckKey(key); err != nil {
		return nil, 0, err
	}
	r, size, err := s.bucket.open(ctx, key, n)
	if err != nil {
		return nil, 0, wrap("reading the head of", key, err)
	}
	defer func() { _ = r.Close() }()
	head = make([]byte, min(n, size))
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, 0, wrap("reading the head of", key, err)
	}
	return head, size, nil
}

// Exists reports whether an object is there.
func (s *Store) Exists(ctx context.Context, key string) (bool, error) {
	_, err := s.Size(ctx, key)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// Size returns an object's size in bytes, or ErrNotFound.
func (s *Store) Size(ctx context.Context, key string) (int64, error) {
	if err := CheckKey(key); err != nil {
		return 0, err
	}
	o, err := s.bucket.stat(ctx, key)
	if err != nil {
		return 0, wrap("looking for", key, err)
	}
	return o.size, nil
}

// Touch makes an object as young as one just written, so that sweeps spare it for Budget.KeepYounger, and returns its size in bytes, or
// ErrNotFound. An object that is about to be used is touched first: then a sweep of this process has either deleted it before or spares it.
// Between the last look and the deletion by a sweep of another process lies a moment in which Touch comes too late.
func (s *Store) Touch(ctx context.Context, key string) (int64, error) {
	if err := CheckKey(key); err != nil {
		return 0, err
	}
	if err := s.sweeping.Acquire(ctx, 1); err != nil {
		return 0, fmt.Errorf("touching object %s: %w", key, err)
	}
	defer s.sweeping.Release(1)
	if err := s.bucket.touch(ctx, key); err != nil {
		return 0, wrap("touching", key, err)
	}
	return s.Size(ctx, key)
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
	if err := s.bucket.remove(ctx, key); err != nil && !errors.Is(err, ErrNotFound) {
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
	if files, ok := s.bucket.(*fileBucket); ok {
		if _, err := files.stat(ctx, key); err != nil {
			return "", nothing, wrap("reading", key, err)
		}
		return files.path(key), nothing, nil
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

// wrap says what was being done, and marks what tells that the store is down.
func wrap(doing, key string, err error) error {
	if !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrTooLarge) && !errors.Is(err, context.Canceled) {
		err = &downError{err}
	}
	return fmt.Errorf("%s object %s: %w", doing, key, err)
}

// reading is an opened object whose faults say what they are.
type reading struct {
	io.ReadCloser
	key string
}

func (r reading) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = wrap("reading", r.key, err)
	}
	return n, err
}

// downError is a fault of the store and not of the object: no answer, no right, no space. Stages wait until it has passed.
type downError struct{ error }

func (e *downError) Unwrap() error { return e.error }

// Unavailable tells a stage to wait.
func (e *downError) Unavailable() bool { return true }

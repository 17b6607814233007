package index

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/larkstream/larkstream/shared/blob"
)

// target is where the files of an export are: a folder, or a prefix of a bucket.
type target interface {
	// create begins a file, which appears under its name when it is committed. Either commit or discard ends it.
	create(ctx context.Context, name string) (sink, error)
	// open fails with fs.ErrNotExist where there is no such file.
	open(ctx context.Context, name string) (io.ReadCloser, error)
	// remove is no error where there is no such file.
	remove(ctx context.Context, name string) error
	each(ctx context.Context, fn func(name string) error) error
	close() error
}

// sink is a file that has not appeared yet.
type sink interface {
	io.Writer
	commit() error
	discard() error
}

// isBucket tells a bucket from a folder.
func isBucket(name string) bool {
	return strings.HasPrefix(name, "s3://") || strings.HasPrefix(name, "gs://")
}

func openTarget(name string) (target, error) {
	if isBucket(name) {
		objects, prefix, err := blob.OpenPrefix(name)
		if err != nil {
			return nil, fmt.Errorf("opening place of export: %w", err)
		}
		return bucketTarget{objects, prefix.Path}, nil
	}
	return folderTarget(name), nil
}

// folderTarget is a folder. It is made when the first file is.
type folderTarget string

func (f folderTarget) create(_ context.Context, name string) (sink, error) {
	if err := os.MkdirAll(string(f), 0o750); err != nil {
		return nil, err
	}
	file, err := os.CreateTemp(string(f), "."+name+".*")
	if err != nil {
		return nil, err
	}
	return &fileSink{File: file, path: filepath.Join(string(f), name)}, nil
}

func (f folderTarget) open(_ context.Context, name string) (io.ReadCloser, error) {
	return os.Open(filepath.Join(string(f), name))
}

func (f folderTarget) remove(_ context.Context, name string) error {
	if err := os.Remove(filepath.Join(string(f), name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

func (f folderTarget) each(_ context.Context, fn func(string) error) error {
	entries, err := os.ReadDir(string(f))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for _, e := range entries {
		if err := fn(e.Name()); err != nil {
			return err
		}
	}
	return nil
}

func (folderTarget) close() error { return nil }

// fileSink is a file under a temporary name.
type fileSink struct {
	*os.File
	path string
}

func (s *fileSink) commit() error {
	if err := errors.Join(s.Sync(), s.Close()); err != nil {
		return errors.Join(err, os.Remove(s.Name()))
	}
	if err := os.Chmod(s.Name(), 0o644); err != nil { //nolint:gosec // as any file that a user makes
		return errors.Join(err, os.Remove(s.Name()))
	}
	return os.Rename(s.Name(), s.path)
}

func (s *fileSink) discard() error { return errors.Join(s.Close(), os.Remove(s.Name())) }

// bucketTarget is what lies below a prefix of a bucket.
type bucketTarget struct {
	objects *blob.Bucket
	prefix  string
}

func (b bucketTarget) create(ctx context.Context, name string) (sink, error) {
	r, w := io.Pipe()
	s := &objectSink{PipeWriter: w, done: make(chan error, 1)}
	go func() {
		err := b.objects.Put(ctx, b.prefix+name, r)
		_ = r.CloseWithError(err) // never fails; a writer that goes on learns why nobody reads
		s.done <- err
	}()
	return s, nil
}

func (b bucketTarget) open(ctx context.Context, name string) (io.ReadCloser, error) {
	body, _, err := b.objects.Open(ctx, b.prefix+name)
	if errors.Is(err, blob.ErrNotFound) {
		return nil, fs.ErrNotExist
	}
	return body, err
}

func (b bucketTarget) remove(ctx context.Context, name string) error {
	return b.objects.Delete(ctx, b.prefix+name)
}

func (b bucketTarget) each(ctx context.Context, fn func(string) error) error {
	var names []string // at most one for each file of an export: nothing is removed while the listing goes on
	err := b.objects.Each(ctx, b.prefix, func(name string, _ int64, _ time.Time) error {
		if name = strings.TrimPrefix(name, b.prefix); !strings.Contains(name, "/") {
			names = append(names, name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := fn(name); err != nil {
			return err
		}
	}
	return nil
}

func (b bucketTarget) close() error { return b.objects.Close() }

// objectSink is an object that is being sent. The server shows it when all of it is there.
type objectSink struct {
	*io.PipeWriter
	done chan error
}

var errDiscarded = errors.New("the file is not whole")

func (s *objectSink) commit() error {
	_ = s.Close() // never fails
	return <-s.done
}

func (s *objectSink) discard() error {
	_ = s.CloseWithError(errDiscarded) // never fails
	if err := <-s.done; err == nil {
		return errors.New("a file that is not whole has reached the bucket")
	}
	return nil // that the upload has failed is the wish; what made it necessary was told
}

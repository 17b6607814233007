package blob

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// fileBucket keeps each object in a file below a folder.
type fileBucket struct{ dir string }

func openDir(u *url.URL) (*fileBucket, error) {
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
	if err := os.MkdirAll(dir, 0o750); err != nil { //nolint:gosec // the operator names the folder
		return nil, fmt.Errorf("opening object store: %w", err)
	}
	return &fileBucket{dir: dir}, nil
}

func (b *fileBucket) path(key string) string { return filepath.Join(b.dir, filepath.FromSlash(key)) }

// put writes a temporary file beside the object, so that the rename stays within one file system.
func (b *fileBucket) put(ctx context.Context, key string, r io.Reader) error {
	path := b.path(key)
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	temp := path + "." + rand.Text()[:16] + tempSuffix
	f, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666) //nolint:gosec // the umask decides, as for every file of the store
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	if err == nil && strings.HasPrefix(key, PrefixAudio) {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = os.Rename(temp, path)
	}
	if err != nil {
		_ = os.Remove(temp) // the sweep takes what stays
	}
	return err
}

func (b *fileBucket) open(ctx context.Context, key string, _ int64) (io.ReadCloser, int64, error) {
	if err := ctx.Err(); err != nil {
		return nil, 0, err
	}
	f, err := os.Open(b.path(key))
	if err != nil {
		return nil, 0, missing(err)
	}
	info, err := f.Stat()
	if err == nil && info.IsDir() {
		err = ErrNotFound
	}
	if err != nil {
		return nil, 0, errors.Join(err, f.Close())
	}
	return f, info.Size(), nil
}

func (b *fileBucket) stat(ctx context.Context, key string) (object, error) {
	if err := ctx.Err(); err != nil {
		return object{}, err
	}
	info, err := os.Stat(b.path(key))
	if err != nil {
		return object{}, missing(err)
	}
	if info.IsDir() {
		return object{}, ErrNotFound
	}
	return object{key: key, size: info.Size(), time: info.ModTime()}, nil
}

func (b *fileBucket) touch(_ context.Context, key string) error {
	now := time.Now()
	return missing(os.Chtimes(b.path(key), now, now))
}

func (b *fileBucket) remove(ctx context.Context, key string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return missing(os.Remove(b.path(key)))
}

func (b *fileBucket) each(ctx context.Context, prefix string, fn func(object) error) error {
	return filepath.WalkDir(b.path(prefix), func(path string, d fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil || d.IsDir() {
			return ignoreGone(err)
		}
		info, err := d.Info()
		if err != nil {
			return ignoreGone(err)
		}
		rel, err := filepath.Rel(b.dir, path)
		if err != nil {
			return err
		}
		return fn(object{key: filepath.ToSlash(rel), size: info.Size(), time: info.ModTime()})
	})
}

func (b *fileBucket) close() error { return nil }

func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return ErrNotFound
	}
	return err
}

// ignoreGone passes over files that others have removed meanwhile, and prefixes that have none yet.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

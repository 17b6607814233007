package source

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
)

// folder is the cleaned absolute path of a folder.
type folder string

func (f folder) holds(a address) bool {
	if a.scheme != "file" {
		return false
	}
	rel, err := filepath.Rel(string(f), a.path)
	return err == nil && filepath.IsLocal(rel)
}

// inside opens the folder as a root that no link leads out of, and tells the path below it.
func (f folder) inside(a address) (*os.Root, string, error) {
	rel, err := filepath.Rel(string(f), a.path)
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrNotAllowed, err)
	}
	root, err := os.OpenRoot(string(f))
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", ErrUnavailable, bare(err))
	}
	return root, rel, nil
}

func (f folder) open(_ context.Context, a address) (*Object, error) {
	root, rel, err := f.inside(a)
	if err != nil {
		return nil, err
	}
	defer func() { _ = root.Close() }() // only opened to look
	// Without waiting: nobody may ever write into a pipe of that name.
	file, err := root.OpenFile(rel, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fault(err)
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%w: it is %s", ErrNotFile, kind(info.Mode()))
	}
	if err != nil {
		return nil, errors.Join(fault(err), file.Close())
	}
	return &Object{ReadCloser: file, ReaderAt: file, Bytes: info.Size()}, nil
}

func (f folder) walk(ctx context.Context, a address, fn func(Entry) error) error {
	root, rel, err := f.inside(a)
	if err != nil {
		return err
	}
	defer func() { _ = root.Close() }()
	err = fs.WalkDir(root.FS(), filepath.ToSlash(rel), func(name string, d fs.DirEntry, err error) error {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		hidden := strings.HasPrefix(d.Name(), ".") && name != filepath.ToSlash(rel)
		switch {
		case err != nil && name == filepath.ToSlash(rel):
			return fault(err)
		case d.IsDir() && (hidden || err != nil):
			return fs.SkipDir
		case d.IsDir() || hidden:
			return nil
		}
		entry := Entry{URI: FileURI(path.Join(string(f), name))}
		if info, err := d.Info(); err == nil {
			entry.Bytes, entry.Modified = info.Size(), info.ModTime()
		}
		return fn(entry)
	})
	return err
}

// kind names what is not a file.
func kind(m fs.FileMode) string {
	switch {
	case m.IsDir():
		return "a folder"
	case m&fs.ModeSocket != 0:
		return "a socket"
	case m&fs.ModeNamedPipe != 0:
		return "a pipe"
	}
	return "a device"
}

// fault names the kind of an error of the file system.
func fault(err error) error {
	switch {
	case errors.Is(err, ErrNotFile):
		return err
	case errors.Is(err, fs.ErrNotExist):
		return ErrMissing
	case errors.Is(err, fs.ErrPermission):
		return ErrDenied
	case errors.Is(err, syscall.ENXIO): // a socket cannot be opened at all
		return fmt.Errorf("%w: it is a socket or a device", ErrNotFile)
	case errors.Is(err, syscall.EIO), errors.Is(err, syscall.ESTALE), errors.Is(err, syscall.EMFILE), errors.Is(err, syscall.ENFILE), errors.Is(err, syscall.ETIMEDOUT):
		return fmt.Errorf("%w: %w", ErrUnavailable, bare(err))
	}
	return fmt.Errorf("%w: %w", ErrUnreadable, bare(err))
}

// bare is an error without the path, which users of other machines need not learn.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

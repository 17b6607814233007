package filetags

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// ErrChanged says that the file is not the one that is meant.
var ErrChanged = errors.New("the file has changed")

// Change tells what a file has, and what it shall have; Written whether it has it now.
type Change struct {
	Old, New Values
	Written  bool
}

// Write gives a file the wanted values, if its SHA-256 is expected or of a file that the list has. Without a list it only tells what it would write.
// onlyMissing leaves fields alone that have a value.
func Write(ctx context.Context, path string, want Values, expected string, onlyMissing bool, list *List) (Change, error) {
	for field, values := range want {
		want[field] = clean(values)
	}
	o, err := openFile(path)
	if err != nil {
		return Change{}, err
	}
	defer func() { _ = o.file.Close() }() // only read
	f, err := plan(o.file, o.info.Size(), want)
	if err == nil && onlyMissing {
		left := make(Values)
		for field, values := range want {
			if len(f.have[field]) == 0 {
				left[field] = values
			}
		}
		f, err = plan(o.file, o.info.Size(), left)
		want = left
	}
	if err != nil {
		return Change{}, err
	}
	c := Change{Old: f.have, New: needed(f.have, want)}
	if len(c.New) == 0 {
		return c, nil
	}
	fits := func(sum string) bool { return sum == expected || list.Wrote(sum) }
	if list == nil {
		sum, err := o.sum(ctx)
		if err == nil && !fits(sum) {
			err = ErrChanged
		}
		return c, err
	}
	err = o.replace(ctx, f.edits, func(before, after string) error {
		if !fits(before) {
			return ErrChanged
		}
		back, err := backward(o.file, f.edits)
		if err != nil {
			return err
		}
		return list.add(Entry{Path: o.path, Before: before, After: after, Back: back})
	})
	c.Written = err == nil
	return c, err
}

// Undo makes a file what it was before an entry. It tells whether there was anything to do.
func Undo(ctx context.Context, e Entry) (bool, error) {
	o, err := openFile(e.Path)
	if err != nil {
		return false, err
	}
	defer func() { _ = o.file.Close() }() // only read
	edits := make([]edit, 0, len(e.Back))
	at := int64(0)
	for _, p := range e.Back {
		if p.At < at || p.Len < 0 {
			return false, fmt.Errorf("%s: its line of the list is damaged", e.Path)
		}
		at = p.At + p.Len
		edits = append(edits, edit{At: p.At, Len: p.Len, New: p.Bytes})
	}
	sum, err := o.sum(ctx)
	switch {
	case err != nil:
		return false, err
	case sum == e.Before: // it was never written, or has been undone
		return false, nil
	case sum != e.After || at > o.info.Size():
		return false, ErrChanged
	}
	return true, o.replace(ctx, edits, func(before, after string) error {
		if before != e.After {
			return ErrChanged
		}
		if after != e.Before {
			return fmt.Errorf("%s: its line of the list is damaged", e.Path)
		}
		return nil
	})
}

// original is a file that is to be replaced.
type original struct {
	path string
	file *os.File
	info fs.FileInfo
}

// openFile opens what a path leads to, following links.
func openFile(path string) (*original, error) {
	real, err := filepath.EvalSymlinks(path)
	if err != nil {
		return nil, err
	}
	file, err := os.OpenFile(real, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a pipe is not waited for
	if err != nil {
		return nil, err
	}
	info, err := file.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = unsupported("it is not a file")
	}
	if err == nil && names(info) > 1 {
		err = unsupported("the file has several names (hard links); the others would keep the old tags")
	}
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &original{path: real, file: file, info: info}, nil
}

func (o *original) sum(ctx context.Context) (string, error) {
	sum := sha256.New()
	if _, err := io.Copy(sum, stoppable{ctx, io.NewSectionReader(o.file, 0, o.info.Size())}); err != nil {
		return "", fmt.Errorf("reading %s: %w", o.path, err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

// replace writes the file with its edits beside the original and puts it in its place. allow sees both digests before that.
func (o *original) replace(ctx context.Context, edits []edit, allow func(before, after string) error) (err error) {
	temp, err := os.CreateTemp(filepath.Dir(o.path), ".lark-tags-*")
	if err != nil {
		return fmt.Errorf("making file beside the original: %w", err)
	}
	defer func() {
		if err != nil {
			_ = temp.Close()           // it may be closed
			_ = os.Remove(temp.Name()) // it may have its name already
		}
	}()
	before, after := sha256.New(), sha256.New()
	if err := copyEdited(io.MultiWriter(temp, after), io.TeeReader(stoppable{ctx, io.NewSectionReader(o.file, 0, o.info.Size())}, before), edits); err != nil {
		return fmt.Errorf("copying %s: %w", o.path, err)
	}
	if err := likeOriginal(temp, o.info); err != nil {
		return err
	}
	if err := errors.Join(temp.Sync(), temp.Close()); err != nil {
		return fmt.Errorf("writing file beside the original: %w", err)
	}
	// A file that somebody has written to or replaced in the meantime is theirs.
	now, err := os.Lstat(o.path)
	if err != nil || !os.SameFile(now, o.info) || now.Size() != o.info.Size() || !now.ModTime().Equal(o.info.ModTime()) {
		return ErrChanged
	}
	if err := allow(hex.EncodeToString(before.Sum(nil)), hex.EncodeToString(after.Sum(nil))); err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), o.path); err != nil {
		return fmt.Errorf("putting file in the place of the original: %w", err)
	}
	return syncFolder(filepath.Dir(o.path))
}

// likeOriginal gives a file the owner, mode and times of the original.
func likeOriginal(f *os.File, info fs.FileInfo) error {
	if uid, gid, ok := owner(info); ok {
		if err := f.Chown(uid, gid); err != nil {
			return fmt.Errorf("keeping the owner of the file: %w", err)
		}
	}
	if err := f.Chmod(info.Mode()); err != nil {
		return fmt.Errorf("keeping the mode of the file: %w", err)
	}
	if err := os.Chtimes(f.Name(), time.Time{}, info.ModTime()); err != nil {
		return fmt.Errorf("keeping the time of the file: %w", err)
	}
	return nil
}

func syncFolder(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// copyEdited copies a file with its edits, which are in order.
func copyEdited(w io.Writer, r io.Reader, edits []edit) error {
	at := int64(0)
	for _, e := range edits {
		if _, err := io.CopyN(w, r, e.At-at); err != nil {
			return err
		}
		if _, err := w.Write(e.New); err != nil {
			return err
		}
		if _, err := io.CopyN(io.Discard, r, e.Len); err != nil {
			return err
		}
		at = e.At + e.Len
	}
	_, err := io.Copy(w, r)
	return err
}

// backward turns edits around.
func backward(r io.ReaderAt, edits []edit) ([]Patch, error) {
	var back []Patch
	shift := int64(0)
	for _, e := range edits {
		old, err := readAt(r, e.At, e.Len)
		if err != nil {
			return nil, err
		}
		if !bytes.Equal(old, e.New) {
			back = append(back, Patch{At: e.At + shift, Len: int64(len(e.New)), Bytes: old})
		}
		shift += int64(len(e.New)) - e.Len
	}
	return back, nil
}

// stoppable reads until ctx ends.
type stoppable struct {
	ctx context.Context //nolint:containedctx // io.Reader has no other way
	io.Reader
}

func (s stoppable) Read(p []byte) (int, error) {
	if err := s.ctx.Err(); err != nil {
		return 0, err
	}
	return s.Reader.Read(p)
}

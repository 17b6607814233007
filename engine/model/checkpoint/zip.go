package checkpoint

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
)

// maxDirectory bounds what is read of a zip file's directory, in bytes; the published prior has about 1,500 entries of
// less than 100 bytes.
const maxDirectory = 16 << 20

// readZip reads the format of PyTorch since 1.6: a zip file of stored (never compressed) entries, NAME/data.pkl with the
// object and NAME/data/KEY with the elements of each storage.
func readZip(r io.ReaderAt, size int64) (any, error) {
	archive, err := zip.NewReader(&budget{r, maxDirectory}, size)
	if err != nil {
		return nil, fmt.Errorf("reading the zip directory: %w", err)
	}
	entries := map[string]*zip.File{}
	for _, f := range archive.File {
		_, name, _ := strings.Cut(f.Name, "/")
		if _, twice := entries[name]; twice {
			return nil, fmt.Errorf("entry %q occurs twice", f.Name)
		}
		entries[name] = f
	}
	if order, ok := entries["byteorder"]; ok {
		if err := checkByteOrder(r, size, order); err != nil {
			return nil, err
		}
	}
	object, ok := entries["data.pkl"]
	if !ok {
		return nil, errors.New("the zip file has no data.pkl: it is not a PyTorch checkpoint")
	}
	start, length, err := stored(object, size)
	if err != nil {
		return nil, err
	}
	storages := map[string]*storage{}
	root, _, err := unpickle(io.NewSectionReader(r, start, length), func(id tuple) (*storage, error) {
		return declareEntry(storages, entries, id, size)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the object: %w", err)
	}
	return root, nil
}

// declareEntry makes the storage of a persistent id and finds its entry.
func declareEntry(storages map[string]*storage, entries map[string]*zip.File, id tuple, size int64) (*storage, error) {
	s, err := declare(storages, id)
	if err != nil || s.offset != 0 {
		return s, err
	}
	entry, ok := entries["data/"+s.key]
	if !ok {
		return nil, fmt.Errorf("storage %q has no entry in the zip file", s.key)
	}
	start, length, err := stored(entry, size)
	if err != nil {
		return nil, err
	}
	if length != s.bytes() {
		return nil, fmt.Errorf("storage %q has %d bytes, where %d are expected", s.key, length, s.bytes())
	}
	s.offset = start
	return s, nil
}

// stored gives the place of an entry in the file, and refuses compressed ones: they could grow without bound.
func stored(f *zip.File, size int64) (start, length int64, err error) {
	if f.Method != zip.Store || f.CompressedSize64 != f.UncompressedSize64 {
		return 0, 0, fmt.Errorf("entry %q is compressed, which PyTorch never does", f.Name)
	}
	if start, err = f.DataOffset(); err != nil {
		return 0, 0, fmt.Errorf("finding entry %q: %w", f.Name, err)
	}
	if start < 0 || start > size || f.UncompressedSize64 > uint64(size-start) {
		return 0, 0, fmt.Errorf("entry %q of %d bytes ends outside the file: it is cut short", f.Name, f.UncompressedSize64)
	}
	return start, int64(f.UncompressedSize64), nil
}

func checkByteOrder(r io.ReaderAt, size int64, f *zip.File) error {
	start, length, err := stored(f, size)
	if err != nil {
		return err
	}
	text := make([]byte, min(length, 16))
	if _, err := r.ReadAt(text, start); err != nil {
		return fmt.Errorf("reading the byte order: %w", err)
	}
	if string(text) != "little" {
		return fmt.Errorf("the byte order is %q, where little is expected", text)
	}
	return nil
}

// budget lets a limited number of bytes through.
type budget struct {
	io.ReaderAt
	left int64
}

func (b *budget) ReadAt(p []byte, at int64) (int, error) {
	if b.left -= int64(len(p)); b.left < 0 {
		return 0, fmt.Errorf("the directory is larger than %d bytes", int64(maxDirectory))
	}
	return b.ReaderAt.ReadAt(p, at)
}

func isZip(head []byte) bool { return bytes.HasPrefix(head, []byte("PK\x03\x04")) }

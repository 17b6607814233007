package gguf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/larkstream/larkstream/engine/model"
)

// File is an open GGUF file. Its methods may be called by several goroutines.
type File struct {
	path    string
	file    io.ReaderAt
	close   func() error
	meta    map[string]any
	tensors []Tensor
	index   map[string]int
}

// Open reads and checks metadata and tensor descriptions; the values stay in the file. Every tensor lies inside the file, has
// the bytes that its shape needs, and overlaps no other.
func Open(path string) (*File, error) {
	f, err := model.OpenFile(path)
	if err != nil {
		return nil, fmt.Errorf("opening the GGUF file: %w", err)
	}
	info, err := f.Stat()
	var g *File
	if err == nil {
		g, err = read(f, info.Size())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the GGUF file %s: %w", path, err), f.Close())
	}
	g.path, g.close = path, f.Close
	return g, nil
}

// read reads a file of the given size.
func read(r io.ReaderAt, size int64) (*File, error) {
	h, err := readHeader(r, size)
	if err != nil {
		return nil, err
	}
	g := &File{file: r, close: func() error { return nil }, meta: h.meta, tensors: h.tensors, index: map[string]int{}}
	padding, err := alignment(h.meta)
	if err != nil {
		return nil, err
	}
	data := pad(h.end, padding)
	next, end := int64(0), h.end // ends of the tensors so far, with and without padding
	for i := range g.tensors {
		t := &g.tensors[i]
		if _, twice := g.index[t.Name]; twice {
			return nil, fmt.Errorf("tensor %q occurs twice", t.Name)
		}
		g.index[t.Name] = i
		if t.offset != next {
			return nil, fmt.Errorf("tensor %q begins at %d, where %d is expected", t.Name, t.offset, next)
		}
		t.offset += data
		end = t.offset + t.Bytes()
		if next = pad(end-data, padding); next > math.MaxInt64/4 {
			return nil, errors.New("its tensors are larger than any file")
		}
	}
	if end > size {
		return nil, fmt.Errorf("it has %d bytes, where its tensors end at %d: it is cut short, fetch it again", size, end)
	}
	return g, nil
}

func alignment(meta map[string]any) (int64, error) {
	v, ok := meta["general.alignment"]
	if !ok {
		return align, nil
	}
	n, ok := v.(uint32)
	if !ok || n == 0 || n > 1<<20 || n&(n-1) != 0 {
		return 0, fmt.Errorf("general.alignment is %v, where a power of two is expected", v)
	}
	return int64(n), nil
}

func pad(n, to int64) int64 { return (n + to - 1) / to * to }

// Path is the file's name.
func (f *File) Path() string { return f.path }

// Tensors lists the tensors in the order of the file.
func (f *File) Tensors() []Tensor { return slices.Clone(f.tensors) }

// Tensor describes one tensor.
func (f *File) Tensor(name string) (Tensor, bool) {
	i, ok := f.index[name]
	if !ok {
		return Tensor{}, false
	}
	return f.tensors[i], true
}

// Meta lists the metadata in alphabetical order of their keys. Slices must not be changed.
func (f *File) Meta() []KV {
	all := make([]KV, 0, len(f.meta))
	for _, key := range slices.Sorted(maps.Keys(f.meta)) {
		all = append(all, KV{key, f.meta[key]})
	}
	return all
}

// Has tells whether the metadata have a key.
func (f *File) Has(key string) bool { _, ok := f.meta[key]; return ok }

// Value gives an entry of the metadata that must be of type T: bool, string, float32, float64, an integer of a fixed size, or a
// slice of one of them, which must not be changed.
func Value[T any](f *File, key string) (T, error) {
	v, ok := f.meta[key]
	if !ok {
		var none T
		return none, fmt.Errorf("reading the GGUF file %s: its metadata have no %s", f.path, key)
	}
	value, ok := v.(T)
	if !ok {
		return value, fmt.Errorf("reading the GGUF file %s: %s is of type %T, where %T is expected", f.path, key, v, value)
	}
	return value, nil
}

// Int gives an entry that must be an integer of any size between 0 and 2^31-1.
func (f *File) Int(key string) (int, error) {
	v, ok := f.meta[key]
	if !ok {
		return 0, fmt.Errorf("reading the GGUF file %s: its metadata have no %s", f.path, key)
	}
	n := int64(-1)
	switch v := v.(type) {
	case uint8:
		n = int64(v)
	case int8:
		n = int64(v)
	case uint16:
		n = int64(v)
	case int16:
		n = int64(v)
	case uint32:
		n = int64(v)
	case int32:
		n = int64(v)
	case int64:
		n = v
	case uint64:
		n = int64(min(v, math.MaxInt64))
	}
	if n < 0 || n > math.MaxInt32 {
		return 0, fmt.Errorf("reading the GGUF file %s: %s is no integer between 0 and %d", f.path, key, math.MaxInt32)
	}
	return int(n), nil
}

// pieceBytes is the most that Read passes at once, in whole blocks.
const pieceBytes = 1 << 20

// Read passes the bytes of a tensor to emit in pieces of whole blocks and at most 1 MB. A piece is valid only during the call.
func (f *File) Read(ctx context.Context, name string, emit func(piece []byte) error) error {
	t, ok := f.Tensor(name)
	if !ok {
		return fmt.Errorf("reading the GGUF file %s: it has no tensor %q", f.path, name)
	}
	at, left := t.offset, t.Bytes()
	size := layouts[t.Type].bytes
	buf := make([]byte, min(left, pieceBytes/size*size))
	for left > 0 {
		piece := buf[:min(left, int64(len(buf)))]
		_, err := f.file.ReadAt(piece, at)
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = emit(piece)
		}
		if err != nil {
			return fmt.Errorf("reading tensor %q of %s: %w", name, f.path, err)
		}
		at, left = at+int64(len(piece)), left-int64(len(piece))
	}
	return nil
}

// ReadAt fills p with bytes of a tensor, from an offset in it.
func (f *File) ReadAt(name string, p []byte, offset int64) error {
	t, ok := f.Tensor(name)
	if !ok {
		return fmt.Errorf("reading the GGUF file %s: it has no tensor %q", f.path, name)
	}
	if offset < 0 || offset > t.Bytes()-int64(len(p)) {
		return fmt.Errorf("reading tensor %q of %s: %d bytes from %d on are not inside its %d", name, f.path, len(p), offset, t.Bytes())
	}
	if _, err := f.file.ReadAt(p, t.offset+offset); err != nil {
		return fmt.Errorf("reading tensor %q of %s: %w", name, f.path, err)
	}
	return nil
}

// F32 reads the values of a tensor of type F32, F16, BF16 or Q8_0.
func (f *File) F32(ctx context.Context, name string) ([]float32, error) {
	t, _ := f.Tensor(name)
	out := make([]float32, 0, t.Elements())
	err := f.Read(ctx, name, func(piece []byte) (err error) {
		out, err = Decode(out, t.Type, piece)
		return err
	})
	return out, err
}

// Close closes the file.
func (f *File) Close() error {
	if err := f.close(); err != nil {
		return fmt.Errorf("closing the GGUF file: %w", err)
	}
	return nil
}

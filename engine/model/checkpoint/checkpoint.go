// Package checkpoint reads the tensors of PyTorch checkpoints (torch.save, in its legacy and its zip layout) and of
// safetensors files without Python. Nothing in a file is executed, and nothing it claims is believed before it has been
// compared with the size of the file. The formats: torch/serialization.py and Python's pickletools.
package checkpoint

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/engine/model"
)

// Info describes a tensor. DType is named as in safetensors: F32, F16, BF16, F64, I64, ...
type Info struct {
	Name  string
	DType string
	Shape []int
}

// File is an open checkpoint. Its methods may be called by several goroutines.
type File struct {
	path    string
	file    io.ReaderAt
	close   func() error
	tensors map[string]*tensor
}

// Open opens a checkpoint and finds its tensors; their values stay in the file. The tensors are those of the entry
// "model" of the top-level dictionary, or of the dictionary itself; a prefix "module." is dropped. The names that Hugging
// Face gives to the parts of Jukebox become those of the original.
func Open(path string) (*File, error) {
	f, err := model.OpenFile(path)
	if err != nil {
		return nil, fmt.Errorf("opening the checkpoint: %w", err)
	}
	c := &File{path: path, file: f, close: f.Close}
	info, err := f.Stat()
	if err == nil {
		c.tensors, err = read(f, info.Size())
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("reading the checkpoint %s: %w", path, err), f.Close())
	}
	return c, nil
}

// read tells the layouts apart by their first bytes.
func read(r io.ReaderAt, size int64) (map[string]*tensor, error) {
	head := make([]byte, min(size, int64(len(legacyStart))))
	if _, err := r.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	var root any
	var err error
	switch {
	case isLegacy(head):
		root, err = readLegacy(r, size)
	case isZip(head):
		root, err = readZip(r, size)
	case len(head) > 8 && head[8] == '{':
		return readSafetensors(r, size)
	default:
		err = errors.New("it is neither a PyTorch checkpoint (legacy or zip) nor a safetensors file, or it is cut short")
	}
	if err != nil {
		return nil, err
	}
	return collect(root)
}

// collect takes the tensors of the state dictionary; other entries are ignored.
func collect(root any) (map[string]*tensor, error) {
	state, ok := root.(*dict)
	if !ok {
		return nil, fmt.Errorf("the checkpoint holds %s, where a dictionary is expected", kind(root))
	}
	if inner, ok := state.get("model"); ok {
		if state, ok = inner.(*dict); !ok {
			return nil, fmt.Errorf(`the entry "model" holds %s, where a dictionary is expected`, kind(inner))
		}
	}
	tensors := map[string]*tensor{}
	for _, item := range state.items {
		key, isString := item.key.(string)
		t, isTensor := item.value.(*tensor)
		if !isString || !isTensor {
			continue
		}
		if err := add(tensors, strings.TrimPrefix(key, "module."), t); err != nil {
			return nil, err
		}
	}
	return tensors, nil
}

func add(tensors map[string]*tensor, key string, t *tensor) error {
	name := canonical(key)
	if _, twice := tensors[name]; twice {
		return fmt.Errorf("tensor %q occurs twice", name)
	}
	tensors[name] = t
	return nil
}

func readSafetensors(r io.ReaderAt, size int64) (map[string]*tensor, error) {
	header, data, err := model.SafetensorsHeader(r, size)
	if err != nil {
		return nil, err
	}
	tensors := map[string]*tensor{}
	for _, name := range slices.Sorted(maps.Keys(header)) {
		info := header[name]
		width, ok := elementBytes[info.DType]
		if !ok {
			continue // an element type that no weight of ours has
		}
		t := &tensor{
			storage: &storage{key: name, dtype: info.DType, count: (info.End - info.Start) / width, offset: data + info.Start},
			shape:   info.Shape, strides: rowMajor(info.Shape),
		}
		if err := errors.Join(t.check(), add(tensors, name, t)); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
	}
	return tensors, nil
}

func rowMajor(shape []int) []int64 {
	strides, step := make([]int64, len(shape)), int64(1)
	for i := len(shape) - 1; i >= 0; i-- {
		strides[i] = step
		step *= int64(shape[i])
	}
	return strides
}

// get returns the last value of a key, as Python would.
func (d *dict) get(key string) (any, bool) {
	for _, item := range slices.Backward(d.items) {
		if k, ok := item.key.(string); ok && k == key {
			return item.value, true
		}
	}
	return nil, false
}

// Path is the file's name.
func (f *File) Path() string { return f.path }

// Tensors lists the tensors in alphabetical order.
func (f *File) Tensors() []Info {
	var all []Info
	for _, name := range slices.Sorted(maps.Keys(f.tensors)) {
		info, _ := f.Info(name)
		all = append(all, info)
	}
	return all
}

// Info describes one tensor.
func (f *File) Info(name string) (Info, bool) {
	t, ok := f.tensors[name]
	if !ok {
		return Info{}, false
	}
	return Info{Name: name, DType: t.storage.dtype, Shape: slices.Clone(t.shape)}, true
}

// chunkBytes is the most that Read passes at once; a multiple of every element's size.
const chunkBytes = 1 << 20

// maxGather bounds the storage of a tensor that is not stored in row-major order, in bytes: it is held in memory.
const maxGather = 256 << 20

// Read passes the elements of a tensor to emit, row-major and little-endian, in pieces of whole elements and at most
// 1 MB. A piece is valid only during the call. Read ends with ctx.Err, with the error of emit, or when all is read.
func (f *File) Read(ctx context.Context, name string, emit func(piece []byte) error) error {
	t, ok := f.tensors[name]
	if !ok {
		return fmt.Errorf("reading %s: it has no tensor %q", f.path, name)
	}
	read := f.readRow
	if !t.contiguous() {
		read = f.gather
	}
	if err := read(ctx, t, emit); err != nil {
		return fmt.Errorf("reading tensor %q of %s: %w", name, f.path, err)
	}
	return nil
}

func (f *File) readRow(ctx context.Context, t *tensor, emit func([]byte) error) error {
	width := elementBytes[t.storage.dtype]
	at, left := t.storage.offset+t.offset*width, t.elements()*width
	buf := make([]byte, min(left, chunkBytes))
	for left > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		piece := buf[:min(left, chunkBytes)]
		if _, err := f.file.ReadAt(piece, at); err != nil {
			return err
		}
		if err := emit(piece); err != nil {
			return err
		}
		at, left = at+int64(len(piece)), left-int64(len(piece))
	}
	return nil
}

// gather reads the part of the storage that the view spans and picks the elements in row-major order.
func (f *File) gather(ctx context.Context, t *tensor, emit func([]byte) error) error {
	if t.elements() == 0 {
		return nil
	}
	width, span := elementBytes[t.storage.dtype], int64(1)
	for i, n := range t.shape {
		span += int64(n-1) * t.strides[i]
	}
	if span*width > maxGather {
		return fmt.Errorf("it is not stored in row-major order and spans %d bytes, where at most %d are supported", span*width, int64(maxGather))
	}
	raw := make([]byte, span*width)
	if _, err := f.file.ReadAt(raw, t.storage.offset+t.offset*width); err != nil {
		return err
	}
	piece := make([]byte, 0, chunkBytes)
	for at := range t.positions() {
		if len(piece) == cap(piece) {
			if err := emit(piece); err != nil {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			piece = piece[:0]
		}
		piece = append(piece, raw[at*width:(at+1)*width]...)
	}
	return emit(piece)
}

// positions yields the position of each element in row-major order, relative to the first.
func (t *tensor) positions() func(func(int64) bool) {
	return func(yield func(int64) bool) {
		index, at := make([]int, len(t.shape)), int64(0)
		for yield(at) {
			i := len(index) - 1
			for ; i >= 0; i-- {
				if index[i]++; index[i] < t.shape[i] {
					at += t.strides[i]
					break
				}
				at -= int64(index[i]-1) * t.strides[i]
				index[i] = 0
			}
			if i < 0 {
				return
			}
		}
	}
}

// F32 reads a tensor of type F32, F16 or BF16 as float32.
func (f *File) F32(ctx context.Context, name string) ([]float32, error) {
	t, ok := f.tensors[name]
	if !ok {
		return nil, fmt.Errorf("reading %s: it has no tensor %q", f.path, name)
	}
	out := make([]float32, 0, t.elements())
	err := f.Read(ctx, name, func(piece []byte) error {
		values, err := model.ToF32(t.storage.dtype, piece)
		out = append(out, values...)
		return err
	})
	return out, err
}

// Close closes the file.
func (f *File) Close() error {
	if err := f.close(); err != nil {
		return fmt.Errorf("closing the checkpoint: %w", err)
	}
	return nil
}

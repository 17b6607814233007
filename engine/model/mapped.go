package model

import (
	"errors"
	"fmt"
	"os"
	"slices"
)

// Mapped is a safetensors file mapped into memory: a page of it is read when it is first used, and the system may drop it again at
// any time. It may be used by several goroutines. The file must not be cut short while it is open.
type Mapped struct {
	*Safetensors
	raw   []byte
	unmap func() error
}

// OpenMapped maps a file and checks its header as OpenSafetensors does.
func OpenMapped(path string) (*Mapped, error) {
	s, err := OpenSafetensors(path)
	if err != nil {
		return nil, err
	}
	f, ok := s.file.(*os.File)
	if !ok {
		return nil, errors.Join(errors.New("mapping weights: not a file"), s.Close())
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mapping weights: %w", err), s.Close())
	}
	raw, unmap, err := mapFile(f, info.Size())
	if err != nil {
		return nil, errors.Join(fmt.Errorf("mapping weights %s: %w", path, err), s.Close())
	}
	return &Mapped{s, raw, unmap}, nil
}

// Bytes gives the little-endian elements of a tensor, row-major, without copying them, and demands the given type and shape. They
// are valid until Close and must not be written.
func (m *Mapped) Bytes(name, dtype string, shape ...int) ([]byte, error) {
	t, ok := m.tensors[name]
	if !ok {
		return nil, fmt.Errorf("reading %s: it has no tensor %q", m.name, name)
	}
	if t.DType != dtype || !slices.Equal(shape, t.Shape) {
		return nil, fmt.Errorf("reading %s: tensor %q is %s %v, where %s %v is expected", m.name, name, t.DType, t.Shape, dtype, shape)
	}
	return m.raw[m.data+t.Start : m.data+t.End : m.data+t.End], nil
}

// Close unmaps and closes the file.
func (m *Mapped) Close() error {
	err := m.unmap()
	if err != nil {
		err = fmt.Errorf("unmapping weights: %w", err)
	}
	return errors.Join(err, m.Safetensors.Close())
}

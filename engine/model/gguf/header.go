package gguf

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Bounds of what a header may hold. A vocabulary of 256,000 pieces with merges takes about 15 MB.
const (
	maxHeader  = 64 << 20 // bytes
	maxKey     = 1 << 16  // bytes of a key
	maxEntries = 1 << 16
	maxTensors = 1 << 17
)

type header struct {
	meta    map[string]any
	tensors []Tensor
	end     int64 // offset of what follows
}

func readHeader(r io.ReaderAt, size int64) (*header, error) {
	limit := min(size, maxHeader)
	c := &cursor{r: bufio.NewReaderSize(io.NewSectionReader(r, 0, limit), 1<<16), limit: limit}
	h := &header{meta: map[string]any{}}
	err := h.read(c)
	if errors.Is(err, errLimit) {
		err = fmt.Errorf("its header does not end within %d bytes: it is cut short or damaged, fetch it again", limit)
	}
	h.end = c.at
	return h, err
}

func (h *header) read(c *cursor) error {
	var start [4]byte
	if err := c.bytes(start[:]); err != nil || string(start[:]) != magic {
		return errors.New("it does not begin with GGUF: it is another kind of file")
	}
	v, err := number[uint32](c)
	if err != nil {
		return err
	}
	if v < 2 || v > version {
		return fmt.Errorf("its version is %d, where 2 or %d is expected (of little byte order)", v, version)
	}
	tensors, err := number[uint64](c)
	if err != nil {
		return err
	}
	entries, err := number[uint64](c)
	if err != nil {
		return err
	}
	if tensors > maxTensors || entries > maxEntries {
		return fmt.Errorf("%d tensors and %d entries of metadata are more than the %d and %d that are read", tensors, entries, maxTensors, maxEntries)
	}
	for range entries {
		if err := h.entry(c); err != nil {
			return err
		}
	}
	for i := range tensors {
		t, err := readTensor(c)
		if err != nil {
			return fmt.Errorf("tensor %d %q: %w", i, t.Name, err)
		}
		h.tensors = append(h.tensors, t)
	}
	return nil
}

func (h *header) entry(c *cursor) error {
	key, err := c.string(maxKey)
	if err != nil {
		return fmt.Errorf("reading a key: %w", err)
	}
	if _, twice := h.meta[key]; twice {
		return fmt.Errorf("metadata %q occur twice", key)
	}
	kind, err := number[uint32](c)
	if err == nil {
		h.meta[key], err = c.value(kind)
	}
	if err != nil {
		return fmt.Errorf("reading metadata %q: %w", key, err)
	}
	return nil
}

func readTensor(c *cursor) (t Tensor, err error) {
	if t.Name, err = c.string(maxKey); err != nil {
		return t, err
	}
	dims, err := number[uint32](c)
	if err != nil {
		return t, err
	}
	if dims < 1 || dims > MaxDims {
		return t, fmt.Errorf("%d dimensions, where 1 to %d are expected", dims, MaxDims)
	}
	t.Shape = make([]int, dims)
	for i := range t.Shape {
		d, err := number[uint64](c)
		if err != nil {
			return t, err
		}
		t.Shape[int(dims)-1-i] = int(min(d, 1<<60))
	}
	kind, err := number[uint32](c)
	if err != nil {
		return t, err
	}
	offset, err := number[uint64](c)
	t.Type, t.offset = Type(kind), int64(min(offset, 1<<60))
	return t, errors.Join(err, t.check())
}

// cursor reads a header; what it has read never exceeds limit.
type cursor struct {
	r         *bufio.Reader
	at, limit int64
}

var errLimit = errors.New("the end of the header")

// claim demands that n more bytes are there.
func (c *cursor) claim(n uint64) error {
	if n > uint64(c.limit-c.at) {
		return errLimit
	}
	c.at += int64(n)
	return nil
}

func (c *cursor) bytes(p []byte) error {
	if err := c.claim(uint64(len(p))); err != nil {
		return err
	}
	_, err := io.ReadFull(c.r, p)
	return err
}

func (c *cursor) string(most uint64) (string, error) {
	n, err := number[uint64](c)
	if err != nil {
		return "", err
	}
	if n > most {
		return "", fmt.Errorf("a text of %d bytes, where at most %d are read", n, most)
	}
	if n > uint64(c.limit-c.at) { // before the memory is taken
		return "", errLimit
	}
	raw := make([]byte, n)
	err = c.bytes(raw)
	return string(raw), err
}

type fixed interface {
	uint8 | int8 | uint16 | int16 | uint32 | int32 | uint64 | int64 | float32 | float64
}

func number[T fixed](c *cursor) (T, error) {
	var v T
	var raw [8]byte
	part := raw[:binary.Size(v)]
	if err := c.bytes(part); err != nil {
		return v, err
	}
	_, err := binary.Decode(part, binary.LittleEndian, &v)
	return v, err
}

func (c *cursor) value(kind uint32) (any, error) {
	switch kind {
	case kindUint8:
		return number[uint8](c)
	case kindInt8:
		return number[int8](c)
	case kindUint16:
		return number[uint16](c)
	case kindInt16:
		return number[int16](c)
	case kindUint32:
		return number[uint32](c)
	case kindInt32:
		return number[int32](c)
	case kindUint64:
		return number[uint64](c)
	case kindInt64:
		return number[int64](c)
	case kindFloat32:
		return number[float32](c)
	case kindFloat64:
		return number[float64](c)
	case kindBool:
		return c.bool()
	case kindString:
		return c.string(maxHeader)
	case kindArray:
		return c.array()
	}
	return nil, fmt.Errorf("a value of type %d, which is unknown", kind)
}

func (c *cursor) bool() (bool, error) {
	b, err := number[uint8](c)
	if err == nil && b > 1 {
		err = fmt.Errorf("%d as a truth value", b)
	}
	return b == 1, err
}

func (c *cursor) array() (any, error) {
	kind, err := number[uint32](c)
	if err != nil {
		return nil, err
	}
	n, err := number[uint64](c)
	if err != nil {
		return nil, err
	}
	switch kind {
	case kindUint8:
		return numbers[uint8](c, n)
	case kindInt8:
		return numbers[int8](c, n)
	case kindUint16:
		return numbers[uint16](c, n)
	case kindInt16:
		return numbers[int16](c, n)
	case kindUint32:
		return numbers[uint32](c, n)
	case kindInt32:
		return numbers[int32](c, n)
	case kindUint64:
		return numbers[uint64](c, n)
	case kindInt64:
		return numbers[int64](c, n)
	case kindFloat32:
		return numbers[float32](c, n)
	case kindFloat64:
		return numbers[float64](c, n)
	case kindBool:
		return list(c, n, 1, (*cursor).bool)
	case kindString:
		return list(c, n, 8, func(c *cursor) (string, error) { return c.string(maxHeader) })
	}
	return nil, fmt.Errorf("an array of type %d, which is unknown or nested", kind)
}

func numbers[T fixed](c *cursor, n uint64) ([]T, error) {
	return list(c, n, uint64(binary.Size(T(0))), number[T])
}

// list reads n items of at least the given number of bytes each.
func list[T any](c *cursor, n, bytes uint64, read func(*cursor) (T, error)) ([]T, error) {
	if n > uint64(c.limit-c.at)/bytes {
		return nil, errLimit
	}
	items := make([]T, 0, n)
	for range n {
		item, err := read(c)
		if err != nil {
			return nil, err
		}
		items = append(items, item)
	}
	return items, nil
}

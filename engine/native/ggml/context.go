package ggml

import (
	"errors"
	"fmt"
	"unsafe"

	"github.com/larkstream/larkstream/engine/native/internal/abi"
)

// Context holds the descriptions of tensors and graphs, not their values. It is for one goroutine at a time.
type Context struct {
	lib  *Library
	c    uintptr
	size uintptr
	err  error
}

// room is how many tensors must fit before an operation: conv_1d makes the most, five.
const room = 8

// NewContext makes a context for up to so many tensors, results of operations included, and graphs of up to so many nodes in all.
func (l *Library) NewContext(tensors, nodes int) (*Context, error) {
	if tensors < 1 || tensors > 1<<20 || nodes < 0 || nodes > 1<<20 {
		return nil, fmt.Errorf("making context: %d tensors and %d nodes are out of range", tensors, nodes)
	}
	size := uintptr(tensors+room) * l.c.overhead()
	if nodes > 0 {
		size += l.c.graphSize(uintptr(nodes), false)
	}
	c := l.c.init(abi.InitParams{Size: size, NoAlloc: true})
	if c == 0 {
		return nil, errors.New("making context: no memory")
	}
	return &Context{lib: l, c: c, size: size}, nil
}

// Close frees the context. Its tensors and graphs must not be used any more.
func (x *Context) Close() {
	if x.c != 0 {
		x.lib.c.free(x.c)
		x.c = 0
		x.fail(errors.New("the context is closed"))
	}
}

// Err is the first error of an operation.
func (x *Context) Err() error { return x.err }

func (x *Context) fail(err error) Tensor {
	if x.err == nil {
		x.err = err
	}
	return Tensor{lib: x.lib}
}

// ready tells whether an operation on the tensors can go on.
func (x *Context) ready(op string, operands ...Tensor) bool {
	if x.err != nil {
		return false
	}
	for i, t := range operands {
		if t.p == nil {
			x.fail(fmt.Errorf("%s: operand %d is no tensor", op, i))
			return false
		}
	}
	if x.size-x.lib.c.used(x.c) < room*x.lib.c.overhead() {
		x.fail(fmt.Errorf("%s: the context is full", op))
		return false
	}
	return true
}

// Tensor makes a tensor of up to four dimensions, the contiguous one first.
func (x *Context) Tensor(kind Type, shape ...int64) Tensor {
	if !x.ready("making tensor") {
		return Tensor{lib: x.lib}
	}
	elements := int64(1)
	for _, n := range shape {
		if n < 1 || n > 1<<40/elements {
			return x.fail(fmt.Errorf("making tensor: shape %v is out of range", shape))
		}
		elements *= n
	}
	block := x.lib.c.blockSize(int32(kind))
	if len(shape) == 0 || len(shape) > 4 || block < 1 || shape[0]%block != 0 {
		return x.fail(fmt.Errorf("making tensor: shape %v does not go with blocks of %d", shape, block))
	}
	return x.wrap(x.lib.c.newTensor(x.c, int32(kind), int32(len(shape)), &shape[0]))
}

func (x *Context) wrap(p *tensor) Tensor {
	if p == nil {
		return x.fail(errors.New("ggml made no tensor"))
	}
	return Tensor{lib: x.lib, p: p}
}

// Tensor is a tensor of a Context.
type Tensor struct {
	lib *Library
	p   *tensor
}

// Valid tells whether there is a tensor: operations that went wrong give none.
func (t Tensor) Valid() bool { return t.p != nil }

// Type is the number format.
func (t Tensor) Type() Type { return t.p.kind }

// Shape is the number of elements of each dimension, the contiguous one first.
func (t Tensor) Shape() [4]int64 { return t.p.ne }

// Bytes is the size in memory.
func (t Tensor) Bytes() int { return int(t.lib.c.nbytes(t.p)) }

// Op is the operation that makes the tensor.
func (t Tensor) Op() string { return t.lib.c.opName(t.p) }

// Accumulate32 asks for products to be summed in f32 (ggml_prec_set_acc).
func (t Tensor) Accumulate32() bool { return t.p != nil && t.lib.c.precision(t.p, precisionF32) }

const precisionF32 = 10 // GGML_PREC_F32

// Number is what tensors are filled from.
type Number interface {
	~uint8 | ~uint16 | ~int32 | ~float32
}

// Set fills the tensor: all of its bytes, in its format and order. The tensor has memory and is contiguous.
func Set[N Number](t Tensor, values []N) error {
	if err := t.transfer(len(values) * int(unsafe.Sizeof(*new(N)))); err != nil {
		return fmt.Errorf("setting tensor: %w", err)
	}
	t.lib.c.tensorSet(t.p, unsafe.Pointer(unsafe.SliceData(values)), 0, uintptr(t.Bytes()))
	return nil
}

// SetAt fills a part of the tensor from an offset in bytes.
func SetAt[N Number](t Tensor, offset int, values []N) error {
	size := len(values) * int(unsafe.Sizeof(*new(N)))
	if err := t.part(offset, size); err != nil {
		return fmt.Errorf("setting tensor: %w", err)
	}
	t.lib.c.tensorSet(t.p, unsafe.Pointer(unsafe.SliceData(values)), uintptr(offset), uintptr(size))
	return nil
}

// GetAt reads a part of the tensor from an offset in bytes.
func GetAt[N Number](t Tensor, offset int, values []N) error {
	size := len(values) * int(unsafe.Sizeof(*new(N)))
	if err := t.part(offset, size); err != nil {
		return fmt.Errorf("reading tensor: %w", err)
	}
	t.lib.c.tensorGet(t.p, unsafe.Pointer(unsafe.SliceData(values)), uintptr(offset), uintptr(size))
	return nil
}

// part tells whether so many bytes at an offset can be moved.
func (t Tensor) part(offset, size int) error {
	if err := t.transfer(t.size()); err != nil {
		return err
	}
	if offset < 0 || size == 0 || size > t.Bytes()-offset {
		return fmt.Errorf("%d bytes at %d of %d", size, offset, t.Bytes())
	}
	return nil
}

func (t Tensor) size() int {
	if t.p == nil {
		return 0
	}
	return t.Bytes()
}

func (t Tensor) transfer(size int) error {
	switch {
	case t.p == nil:
		return errors.New("there is no tensor")
	case t.p.buffer == 0:
		return errors.New("it has no memory")
	case !t.lib.c.contiguous(t.p):
		return errors.New("it is not contiguous")
	case size != t.Bytes():
		return fmt.Errorf("%d bytes for a tensor of %d", size, t.Bytes())
	}
	return nil
}

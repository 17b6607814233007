// Package gguf reads and writes GGUF, the file format of llama.cpp's models
// (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md), version 3 and, when reading, 2. Nothing that a file claims
// is believed before it has been compared with the size of the file.
package gguf

import (
	"fmt"
	"slices"
)

const (
	magic   = "GGUF"
	version = 3
	// align is the alignment of tensors in files written here; general.alignment may say otherwise in others.
	align = 32

	// MaxDims is the most dimensions that ggml's tensors have.
	MaxDims = 4
	// maxName is the length of the longest name of a tensor, in bytes: GGML_MAX_NAME without its zero.
	maxName = 63
)

// Type is the element type of a tensor, numbered as in ggml.h.
type Type uint32

// The types that are written here, and whose values F32 gives.
const (
	F32  Type = 0
	F16  Type = 1
	Q8_0 Type = 8
	BF16 Type = 30
)

// layout is how elements are stored: in blocks of a number of elements, each of a number of bytes (ggml.c: type_traits).
type layout struct {
	name         string
	block, bytes int64
}

var layouts = map[Type]layout{
	F32: {"F32", 1, 4}, F16: {"F16", 1, 2}, BF16: {"BF16", 1, 2}, Q8_0: {"Q8_0", 32, 34},
	2: {"Q4_0", 32, 18}, 3: {"Q4_1", 32, 20}, 6: {"Q5_0", 32, 22}, 7: {"Q5_1", 32, 24}, 9: {"Q8_1", 32, 36},
	10: {"Q2_K", 256, 84}, 11: {"Q3_K", 256, 110}, 12: {"Q4_K", 256, 144}, 13: {"Q5_K", 256, 176}, 14: {"Q6_K", 256, 210}, 15: {"Q8_K", 256, 292},
	16: {"IQ2_XXS", 256, 66}, 17: {"IQ2_XS", 256, 74}, 18: {"IQ3_XXS", 256, 98}, 19: {"IQ1_S", 256, 50}, 20: {"IQ4_NL", 32, 18},
	21: {"IQ3_S", 256, 110}, 22: {"IQ2_S", 256, 82}, 23: {"IQ4_XS", 256, 136}, 29: {"IQ1_M", 256, 56},
	24: {"I8", 1, 1}, 25: {"I16", 1, 2}, 26: {"I32", 1, 4}, 27: {"I64", 1, 8}, 28: {"F64", 1, 8},
	34: {"TQ1_0", 256, 54}, 35: {"TQ2_0", 256, 66}, 39: {"MXFP4", 32, 17}, 40: {"NVFP4", 64, 36}, 41: {"Q1_0", 128, 18}, 42: {"Q2_0", 64, 18},
}

func (t Type) String() string {
	if l, ok := layouts[t]; ok {
		return l.name
	}
	return fmt.Sprintf("type %d", uint32(t))
}

// Fits tells whether rows of the given width can be stored in the type: its blocks must divide it.
func (t Type) Fits(width int) bool {
	l, ok := layouts[t]
	return ok && int64(width)%l.block == 0
}

// Tensor describes a tensor. Shape is row-major, as in PyTorch: the last dimension is the contiguous one.
type Tensor struct {
	Name   string
	Type   Type
	Shape  []int
	offset int64 // of its first byte in the file
}

// Elements is the product of the shape.
func (t Tensor) Elements() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= int64(d)
	}
	return n
}

// Bytes is the size of the tensor in a file.
func (t Tensor) Bytes() int64 {
	l := layouts[t.Type]
	return t.Elements() / l.block * l.bytes
}

// check demands a known type and a shape that it can hold, small enough that no size overflows.
func (t Tensor) check() error {
	if t.Name == "" || len(t.Name) > maxName {
		return fmt.Errorf("a name of %d bytes, where 1 to %d are expected", len(t.Name), maxName)
	}
	if _, ok := layouts[t.Type]; !ok {
		return fmt.Errorf("its elements are of %s, which is unknown", t.Type)
	}
	if len(t.Shape) == 0 || len(t.Shape) > MaxDims || slices.ContainsFunc(t.Shape, func(d int) bool { return d < 1 }) {
		return fmt.Errorf("shape %v, where 1 to %d dimensions of at least 1 are expected", t.Shape, MaxDims)
	}
	n := int64(1)
	for _, d := range t.Shape {
		if n > (1<<50)/int64(d) {
			return fmt.Errorf("shape %v is out of range", t.Shape)
		}
		n *= int64(d)
	}
	if !t.Type.Fits(t.Shape[len(t.Shape)-1]) {
		return fmt.Errorf("rows of %d elements cannot be stored in %s, whose blocks have %d", t.Shape[len(t.Shape)-1], t.Type, layouts[t.Type].block)
	}
	return nil
}

// KV is an entry of the metadata. Value is a bool, string, integer of a fixed size, float32 or float64, or a slice of one of them.
type KV struct {
	Key   string
	Value any
}

// The numbers of the types of values (gguf.h: gguf_type).
const (
	kindUint8 = iota
	kindInt8
	kindUint16
	kindInt16
	kindUint32
	kindInt32
	kindFloat32
	kindBool
	kindString
	kindArray
	kindUint64
	kindInt64
	kindFloat64
)

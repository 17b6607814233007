package jukebox

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/larkstream/larkstream/engine/tensor"
)

// Weights gives the tensors of the checkpoints, under their own names. What it gives is only read, and stays valid as long as the
// encoder is in use.
type Weights interface {
	// Bytes gives the little-endian elements of a tensor, row-major; a wrong type or shape is an error that names the tensor.
	Bytes(name, dtype string, shape ...int) ([]byte, error)
}

// reader reads tensors and keeps the first error, so that a list of reads is checked once.
type reader struct {
	from      Weights
	precision tensor.Precision // of products with matrices
	err       error
}

// raw gives the bytes of a tensor of float32.
func (r *reader) raw(name string, shape ...int) table {
	if r.err != nil {
		return table{}
	}
	var data []byte
	data, r.err = r.from.Bytes(name, "F32", shape...)
	return table{data: data, width: shape[len(shape)-1]}
}

// values copies a tensor of float32 and refuses what is not finite.
func (r *reader) values(name string, shape ...int) []float32 {
	t := r.raw(name, shape...)
	out := make([]float32, len(t.data)/4)
	decode(out, t.data)
	if r.err == nil && !tensor.Finite(out) {
		r.err = fmt.Errorf("reading tensor %q: it holds values that are not finite", name)
	}
	return out
}

// matrix gives a matrix of halves.
func (r *reader) matrix(name string, in, out int) tensor.HalfMatrix {
	if r.err != nil {
		return tensor.HalfMatrix{}
	}
	var data []byte
	data, r.err = r.from.Bytes(name, "F16", in, out)
	return tensor.HalfMatrix{In: in, Out: out, Data: data, Precision: r.precision}
}

// table is rows of float32 that are read where they lie.
type table struct {
	data  []byte
	width int
}

// row copies a row to dst.
func (t table) row(dst []float32, i int) { decode(dst[:t.width], t.data[4*i*t.width:]) }

// addRow adds a row to dst.
func (t table) addRow(dst []float32, i int) {
	raw := t.data[4*i*t.width:][:4*t.width]
	for j := range dst[:t.width] {
		dst[j] += math.Float32frombits(binary.LittleEndian.Uint32(raw[4*j:]))
	}
}

func decode(dst []float32, raw []byte) {
	raw = raw[:4*len(dst)]
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
}

package tensor

import "fmt"

// HalfMatrix is a matrix of weights [In, Out] in little-endian IEEE 754 halves, row-major, as a checkpoint holds it. Products
// convert a block at a time while packing, exactly, so that the weights never stand in memory in float32. Data may lie in a mapped
// file; it is only read.
type HalfMatrix struct {
	In, Out int
	Data    []byte
	// Precision is the arithmetic of products.
	Precision Precision
}

// rowGroup is how many rows are packed in one work item.
const rowGroup = 8

// MatMul computes dst[m, Out] = x·W for the m rows of x, each of In values and stride after the one before, and does what fused asks.
// dst must not overlap x. Sums are in float32; a row's result does not depend on the other rows. The matrix is packed for this product
// alone, in memory that later products use again: for several products with one matrix use Packed.
func (w HalfMatrix) MatMul(dst, x []float32, m, stride int, fused Fused) {
	active().matMulHalf(dst, x, w, m, stride, fused)
}

func (kr *kernel) matMulHalf(dst, x []float32, w HalfMatrix, m, stride int, fused Fused) {
	p := packs.Get().(*Packed)
	defer packs.Put(p)
	p.pack(kr, w)
	p.matMul(kr, dst, x, m, stride, fused)
}

// check panics unless the data has the size of the matrix.
func (w HalfMatrix) check() {
	if len(w.Data) != 2*w.In*w.Out {
		panic(fmt.Sprintf("tensor: a matrix [%d,%d] does not have %d bytes", w.In, w.Out, len(w.Data)))
	}
}

// pack reads whole rows, which lie one after another in the file.
func (w HalfMatrix) pack(kr *kernel, dst []float32, k0, depth int, p part) {
	nr := kr.nr
	Parallel((depth+rowGroup-1)/rowGroup, depth*w.Out*8, func(group int) {
		for l := group * rowGroup; l < min((group+1)*rowGroup, depth); l++ {
			row := w.Data[2*(k0+l)*w.Out:][:2*w.Out]
			for j := 0; j < w.Out; j += nr {
				to := dst[j*depth+l*nr:][:nr]
				kr.halves(to[:min(nr, w.Out-j)], row[2*j:])
				clear(to[min(nr, w.Out-j):])
				p.round(to)
			}
		}
	})
}

package tensor

import "fmt"

// Packed is a matrix of weights [in, out] laid out for the kernel in use, so that products need not do that again. It takes
// HalfMatrix.PackedBytes. Products may run at the same time; Pack must not run beside them.
type Packed struct {
	in, out   int
	precision Precision
	floats    factor[float32]
	pairs     factor[uint32]
}

// Pack lays w out, in the memory of the matrix before where that is large enough. w is not needed any more after it.
func (p *Packed) Pack(w HalfMatrix) { p.pack(active(), w) }

func (p *Packed) pack(kr *kernel, w HalfMatrix) {
	w.check()
	p.in, p.out, p.precision = w.In, w.Out, w.Precision
	if kr.pairs.takes(w.Precision) {
		lay(&p.pairs, kr.pairs.tiles, w.Out, roundUp(w.In, pairUnit)/2, w.Precision.terms(), func(dst []uint32, which part, k0, depth int) {
			kr.pairs.panels(dst, w, which, k0, depth)
		})
		return
	}
	lay(&p.floats, kr.tiles, w.Out, w.In, w.Precision.terms(), func(dst []float32, which part, k0, depth int) { w.pack(kr, dst, k0, depth, which) })
}

// lay fills a factor with those parts that the terms name, block by block.
func lay[E element](f *factor[E], t tiles[E], n, k int, terms []term, panels func(dst []E, which part, k0, depth int)) {
	f.n, f.k = n, k
	size := t.size(n, k)
	var done [low + 1]bool
	for _, term := range terms {
		if done[term.w] {
			continue
		}
		done[term.w] = true
		dst := f.parts[term.w]
		if cap(dst) < size {
			dst = make([]E, size)
		}
		dst = dst[:size]
		f.parts[term.w] = dst
		t.blocks(k, func(k0, depth int) { panels(dst[roundUp(n, t.nr)*k0:], term.w, k0, depth) })
	}
}

// PackedBytes is the memory that the matrix takes when it is packed for the kernel in use.
func (w HalfMatrix) PackedBytes() int64 {
	kr := active()
	size := int64(kr.tiles.size(w.Out, w.In))
	if kr.pairs.takes(w.Precision) {
		size = int64(kr.pairs.size(w.Out, roundUp(w.In, pairUnit)/2))
	}
	counted := map[part]bool{}
	for _, t := range w.Precision.terms() {
		counted[t.w] = true
	}
	return 4 * size * int64(len(counted))
}

// MatMul is HalfMatrix.MatMul of the matrix that was packed.
func (p *Packed) MatMul(dst, x []float32, m, stride int, fused Fused) {
	p.matMul(active(), dst, x, m, stride, fused)
}

func (p *Packed) matMul(kr *kernel, dst, x []float32, m, stride int, fused Fused) {
	switch {
	case m < 0 || stride < min(p.in, 1) || len(dst) < m*p.out || (m > 0 && len(x) < (m-1)*stride+p.in):
		panic(fmt.Sprintf("tensor: product of %d rows %d apart with [%d,%d] does not fit slices of %d and %d", m, stride, p.in, p.out, len(x), len(dst)))
	case fused.Bias != nil && len(fused.Bias) != p.out:
		panic(fmt.Sprintf("tensor: a product with [%d,%d] cannot have a bias of %d", p.in, p.out, len(fused.Bias)))
	}
	rows := rowsOf{x: x, m: m, stride: stride, width: p.in}
	if kr.pairs.takes(p.precision) {
		product := blocked[uint32]{
			tiles: kr.pairs.tiles, strip: func(dst []uint32, which part, i0, k0, depth int) { kr.pairs.strip(dst, rows, which, i0, k0, depth) },
			right: p.pairs, terms: p.precision.terms(), pool: &pairPool, kr: kr, dst: dst, m: m, fused: fused,
		}
		product.run()
		return
	}
	product := blocked[float32]{
		tiles: kr.tiles, strip: func(dst []float32, which part, i0, k0, depth int) { rows.strip(kr, dst, which, i0, k0, depth) },
		right: p.floats, terms: p.precision.terms(), pool: &floatPool, kr: kr, dst: dst, m: m, fused: fused,
	}
	product.run()
}

// PackT lays w out, the transpose of a matrix [k, n] of float32, for products in float32.
func (p *Packed) PackT(w []float32, n, k int) { p.packT(active(), w, n, k) }

func (p *Packed) packT(kr *kernel, w []float32, n, k int) {
	p.in, p.out, p.precision = k, n, F32
	lay(&p.floats, kr.tiles, n, k, F32.terms(), func(dst []float32, which part, k0, depth int) { transposed{w, n, k}.pack(kr, dst, k0, depth, which) })
}

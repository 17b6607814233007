// Package tensor gives the matrix products and the pointwise functions that the plain-Go models run on.
//
// Matrices are row-major []float32 with their shape passed beside them. Functions panic when a slice is too
// short for the shape, as the built-in indexing does: shapes are checked where weights and inputs are read.
package tensor

import (
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
)

const (
	depthBlock = 384     // k elements per packed panel: a panel of B stays in the L2 cache
	rowBlock   = 240     // rows of x per work item
	fewRows    = 16      // below this many rows packing does not pay
	inlineWork = 1 << 19 // multiply-adds below which starting goroutines costs more than it saves
)

// MatMulT computes dst[m,n] = x[m,k] · w[n,k]ᵀ, the product of a linear layer whose weights are stored [out, in].
// dst must not overlap x or w. Sums are in float32; a result depends on k and on whether m is below 16, not on the
// other rows of x.
func MatMulT(dst, x, w []float32, m, n, k int) {
	checkShapes(dst, x, w, m, n, k)
	if m < fewRows {
		active().rows(dst, x, w, m, n, k)
		return
	}
	active().panels(dst, x, w, m, n, k)
}

// MatRowsT computes the same product as MatMulT one row of x at a time, reading w once for all rows. A row's result is
// bit-identical whatever m is, which makes batched decoding equal to decoding alone. It suits small m.
func MatRowsT(dst, x, w []float32, m, n, k int) {
	checkShapes(dst, x, w, m, n, k)
	active().rows(dst, x, w, m, n, k)
}

func checkShapes(dst, x, w []float32, m, n, k int) {
	if m < 0 || n < 0 || k < 0 || len(dst) < m*n || len(x) < m*k || len(w) < n*k {
		panic(fmt.Sprintf("tensor: product [%d,%d]·[%d,%d]ᵀ does not fit slices of %d, %d and %d", m, k, n, k, len(x), len(w), len(dst)))
	}
}

// rows walks w in groups of four rows and applies each group to every row of x.
func (kr *kernel) rows(dst, x, w []float32, m, n, k int) {
	if m == 0 || n == 0 {
		return
	}
	const group = 32
	groups := (n + group - 1) / group
	Parallel(groups, m*n*k, func(g int) {
		end := min((g+1)*group, n)
		j := g * group
		for ; j+4 <= end; j += 4 {
			for i := range m {
				kr.dot4(dst[i*n+j:i*n+j+4], x[i*k:(i+1)*k], w[j*k:(j+4)*k])
			}
		}
		for ; j < end; j++ {
			for i := range m {
				dst[i*n+j] = dotGo(x[i*k:(i+1)*k], w[j*k:(j+1)*k])
			}
		}
	})
}

// panels is the blocked product: x is packed once into panels of mr rows, w panel by panel of nr rows, and a register
// tile of mr x nr accumulates over depthBlock elements at a time.
func (kr *kernel) panels(dst, x, w []float32, m, n, k int) {
	clear(dst[:m*n])
	if k == 0 || n == 0 || m == 0 {
		return
	}
	packed := borrow(roundUp(m, kr.mr) * k)
	defer giveBack(packed)
	strips := roundUp(m, kr.mr) / kr.mr
	Parallel(strips, m*k*8, func(s int) { packStrip(packed.v[s*kr.mr*k:], x, s*kr.mr, m, k, kr.mr) })

	block := rowBlock / kr.mr // strips per work item
	blocks := (strips + block - 1) / block
	columns := roundUp(n, kr.nr) / kr.nr
	Parallel(columns*blocks, m*n*k, func(item int) {
		col, first := item/blocks, item%blocks*block
		kr.column(dst, packed.v, w, shape{m, n, k}, col*kr.nr, first, min(first+block, strips))
	})
}

type shape struct{ m, n, k int }

// column computes nr columns of dst from j0 on, for the packed strips [first, last).
func (kr *kernel) column(dst, packed, w []float32, s shape, j0, first, last int) {
	panel := borrow(kr.nr * min(s.k, depthBlock))
	edge := borrow(kr.mr * kr.nr)
	defer giveBack(panel)
	defer giveBack(edge)
	for k0 := 0; k0 < s.k; k0 += depthBlock {
		depth := min(depthBlock, s.k-k0)
		packPanel(panel.v, w, j0, k0, depth, s, kr.nr)
		for strip := first; strip < last; strip++ {
			i0 := strip * kr.mr
			a := packed[strip*kr.mr*s.k+k0*kr.mr:]
			if i0+kr.mr <= s.m && j0+kr.nr <= s.n {
				kr.tile(depth, a, panel.v, dst[i0*s.n+j0:], s.n)
				continue
			}
			clear(edge.v)
			kr.tile(depth, a, panel.v, edge.v, kr.nr)
			addEdge(dst, edge.v, i0, j0, s, kr)
		}
	}
}

// addEdge adds the part of a tile that lies inside dst.
func addEdge(dst, edge []float32, i0, j0 int, s shape, kr *kernel) {
	cols := min(kr.nr, s.n-j0)
	for i := range min(kr.mr, s.m-i0) {
		row := dst[(i0+i)*s.n+j0:][:cols]
		for j, v := range edge[i*kr.nr:][:cols] {
			row[j] += v
		}
	}
}

// packStrip lays mr rows of x from i0 on out as k groups of mr values; rows beyond m are zero.
func packStrip(dst, x []float32, i0, m, k, mr int) {
	for i := range mr {
		if i0+i >= m {
			for l := range k {
				dst[l*mr+i] = 0
			}
			continue
		}
		for l, v := range x[(i0+i)*k:][:k] {
			dst[l*mr+i] = v
		}
	}
}

// packPanel lays nr rows of w from j0 on, elements k0 to k0+depth, out as depth groups of nr values; rows beyond n
// are zero.
func packPanel(dst, w []float32, j0, k0, depth int, s shape, nr int) {
	for j := 0; j < nr; j += 4 {
		if j0+j+4 <= s.n {
			pack4(dst[j:], w[(j0+j)*s.k+k0:], s.k, depth, nr)
			continue
		}
		for jj := j; jj < j+4; jj++ {
			for l := range depth {
				v := float32(0)
				if j0+jj < s.n {
					v = w[(j0+jj)*s.k+k0+l]
				}
				dst[l*nr+jj] = v
			}
		}
	}
}

// pack4 interleaves four rows that lie stride apart, so that writes go to the cache in groups.
func pack4(dst, w []float32, stride, depth, nr int) {
	r0, r1, r2, r3 := w[:depth], w[stride:][:depth], w[2*stride:][:depth], w[3*stride:][:depth]
	for l := range depth {
		d := dst[l*nr : l*nr+4 : l*nr+4]
		d[0], d[1], d[2], d[3] = r0[l], r1[l], r2[l], r3[l]
	}
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

type scratch struct{ v []float32 }

var scratchPool = sync.Pool{New: func() any { return new(scratch) }}

func borrow(n int) *scratch {
	s := scratchPool.Get().(*scratch)
	if cap(s.v) < n {
		s.v = make([]float32, n)
	}
	s.v = s.v[:n]
	return s
}

func giveBack(s *scratch) { scratchPool.Put(s) }

// Parallel calls do(0) to do(items-1), on several goroutines when the work (in multiply-adds) is worth it, and returns
// when all are done.
func Parallel(items, work int, do func(item int)) {
	workers := min(runtime.GOMAXPROCS(0), items)
	if workers <= 1 || work < inlineWork {
		for i := range items {
			do(i)
		}
		return
	}
	var next atomic.Int64
	var group sync.WaitGroup
	run := func() {
		for i := int(next.Add(1)) - 1; i < items; i = int(next.Add(1)) - 1 {
			do(i)
		}
	}
	for range workers - 1 {
		group.Go(run)
	}
	run()
	group.Wait()
}

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

// panels is the blocked product, for many rows.
func (kr *kernel) panels(dst, x, w []float32, m, n, k int) {
	p := packs.Get().(*Packed)
	defer packs.Put(p)
	p.packT(kr, w, n, k)
	p.matMul(kr, dst, x, m, k, Fused{})
}

func roundUp(n, to int) int { return (n + to - 1) / to * to }

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

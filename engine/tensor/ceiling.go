package tensor

import (
	"runtime"
	"sync"
)

// TileFlops runs the register tile that products of that precision use on operands that stay in the first-level cache, once on every
// processor, rounds times each, and returns the number of floating-point operations. Against the processor time that it took it is
// what products on this machine cannot exceed; BF16x2 takes three of these operations for each of a product's.
func TileFlops(p Precision, rounds int) float64 {
	kr := active()
	if p != F32 && p != "" && kr.pairs != nil {
		return 2 * tileProducts(kr.pairs.tiles, rounds)
	}
	return tileProducts(kr.tiles, rounds)
}

func tileProducts[E element](t tiles[E], rounds int) float64 {
	const depth = 128
	workers := runtime.GOMAXPROCS(0)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			a, b, c := make([]E, depth*t.mr), make([]E, depth*t.nr), make([]float32, t.mr*t.nr)
			for range rounds {
				t.tile(depth, 1, a, b, c)
			}
		})
	}
	group.Wait()
	return 2 * float64(workers*rounds) * float64(depth*t.mr*t.nr)
}

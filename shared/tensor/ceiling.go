package tensor

import (
	"runtime"
	"sync"
)

// TileFlops runs the register tile of the large products on operands that stay in the first-level cache, once on every
// processor, rounds times each, and returns the number of floating-point operations. Against the processor time that it took it is
// what products on this machine cannot exceed.
func TileFlops(rounds int) float64 {
	const depth = 64
	kr := active()
	workers := runtime.GOMAXPROCS(0)
	var group sync.WaitGroup
	for range workers {
		group.Go(func() {
			a, b, c := make([]float32, depth*kr.mr), make([]float32, depth*kr.nr), make([]float32, kr.mr*kr.nr)
			for range rounds {
				kr.tile(depth, a, b, c, kr.nr)
			}
		})
	}
	group.Wait()
	return 2 * float64(workers*rounds) * float64(depth*kr.mr*kr.nr)
}

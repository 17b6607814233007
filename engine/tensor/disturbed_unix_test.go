//go:build unix

package tensor

import (
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// Vector registers and tiles survive what interrupts a product: signals, which put the registers aside on a stack, the collector, which
// stops every thread by signals too, and other goroutines that take the threads over.
func TestProductsAreExactWhileDisturbed(t *testing.T) { //nolint:paralleltest // the disturbance would reach other tests
	const m, n, k, goroutines, each = 70, 96, 128, 8, 12
	r := rand.New(rand.NewPCG(8, 8))
	w, _ := halves(r, k, n)
	x := random(r, m*k)
	self, err := os.FindProcess(os.Getpid())
	require.NoError(t, err)
	for _, kr := range kernels() {
		for _, p := range Precisions() {
			w := HalfMatrix{In: k, Out: n, Data: w.Data, Precision: p}
			want := make([]float32, m*n)
			kr.matMulHalf(want, x, w, m, k, Fused{})
			done := make(chan struct{})
			var work, disturber sync.WaitGroup
			disturber.Go(func() {
				for {
					select {
					case <-done:
						return
					default:
						_ = self.Signal(syscall.SIGURG) // the runtime takes it as a request to let another goroutine run
						runtime.GC()
					}
				}
			})
			var wrong atomic.Int64
			for range goroutines {
				work.Go(func() {
					got := make([]float32, m*n)
					for range each {
						kr.matMulHalf(got, x, w, m, k, Fused{})
						if !slices.Equal(want, got) {
							wrong.Add(1)
						}
						runtime.Gosched()
					}
				})
			}
			work.Wait()
			close(done)
			disturber.Wait()
			require.Zero(t, wrong.Load(), "products of %s in %s", kr.name, p)
		}
	}
}

package tensor

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// A matrix that is packed once gives what packing for each product gives, whatever its memory held before.
func TestPackedMatrixGivesWhatTheMatrixGives(t *testing.T) {
	t.Parallel()
	eachPrecision(t, func(t *testing.T, kr *kernel, p Precision) {
		r := rand.New(rand.NewPCG(2, 3))
		var packed Packed
		for _, s := range [][3]int{{40, 70, 801}, {33, 31, 65}, {7, 5, 3}, {40, 70, 33}, {0, 2, 3}, {3, 3, 0}} {
			m, n, k := s[0], s[1], s[2]
			w, _ := halves(r, k, n)
			w.Precision = p
			x, want, got := random(r, m*k), make([]float32, m*n), make([]float32, m*n)
			kr.matMulHalf(want, x, w, m, k, Fused{})
			packed.pack(kr, w)
			for range 2 {
				packed.matMul(kr, got, x, m, k, Fused{})
				require.Equal(t, want, got, "shape %v", s)
			}
		}
	})
}

func TestPackedTransposeGivesWhatMatMulTGives(t *testing.T) {
	t.Parallel()
	const m, n, k = 37, 45, 131
	r := rand.New(rand.NewPCG(4, 5))
	x, w, want, got := random(r, m*k), random(r, n*k), make([]float32, m*n), make([]float32, m*n)
	MatMulT(want, x, w, m, n, k)
	var packed Packed
	packed.PackT(w, n, k)
	packed.MatMul(got, x, m, k, Fused{})
	require.Equal(t, want, got)
}

func TestPackedMatrixServesSeveralProductsAtOnce(t *testing.T) {
	t.Parallel()
	const m, n, k = 70, 96, 128
	r := rand.New(rand.NewPCG(6, 7))
	w, _ := halves(r, k, n)
	w.Precision = BF16x2
	var packed Packed
	packed.Pack(w)
	x, want := random(r, m*k), make([]float32, m*n)
	packed.MatMul(want, x, m, k, Fused{})
	var group sync.WaitGroup
	results := make([][]float32, 4)
	for i := range results {
		group.Go(func() {
			results[i] = make([]float32, m*n)
			packed.MatMul(results[i], x, m, k, Fused{})
		})
	}
	group.Wait()
	for _, got := range results {
		require.Equal(t, want, got)
	}
}

func TestPackedBytesIsTheMemoryThatPackingTakes(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(8, 9))
	for _, p := range Precisions() {
		w, _ := halves(r, 65, 37)
		w.Precision = p
		var packed Packed
		packed.Pack(w)
		size := 0
		for which := range packed.floats.parts {
			size += 4 * (len(packed.floats.parts[which]) + len(packed.pairs.parts[which]))
		}
		require.Equal(t, int64(size), w.PackedBytes(), p)
	}
}

func TestPackedMatrixRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	var p Packed
	p.Pack(HalfMatrix{In: 2, Out: 3, Data: make([]byte, 12)})
	require.Panics(t, func() { p.MatMul(make([]float32, 5), make([]float32, 4), 2, 2, Fused{}) })
	require.Panics(t, func() { p.MatMul(make([]float32, 6), make([]float32, 3), 2, 2, Fused{}) })
	require.Panics(t, func() { p.MatMul(make([]float32, 6), make([]float32, 4), 2, 2, Fused{Bias: make([]float32, 2)}) })
	require.Panics(t, func() { p.Pack(HalfMatrix{In: 2, Out: 3, Data: make([]byte, 11)}) })
}

package tensor

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// halves gives a random matrix [in, out] of halves and its values transposed, [out, in].
func halves(r *rand.Rand, in, out int) (HalfMatrix, []float32) {
	w, values := HalfMatrix{In: in, Out: out, Data: make([]byte, 2*in*out)}, make([]float32, in*out)
	for i := range in {
		for j := range out {
			h := F32ToF16(r.Float32()*2 - 1)
			binary.LittleEndian.PutUint16(w.Data[2*(i*out+j):], h)
			values[j*in+i] = F16ToF32(h)
		}
	}
	return w, values
}

// halfShapes cross every block size: rows, depth and columns.
var halfShapes = [][3]int{
	{1, 1, 1}, {1, 5, 3}, {3, 7, 2}, {12, 32, 16}, {13, 33, 17}, {4, 4, 385}, {241, 31, 65}, {97, 130, 769}, {250, 1400, 33}, {500, 96, 400}, {0, 2, 3}, {3, 3, 0},
}

// eachPrecision runs a test for every kernel and precision.
func eachPrecision(t *testing.T, run func(t *testing.T, kr *kernel, p Precision)) {
	t.Helper()
	for _, kr := range kernels() {
		for _, p := range Precisions() {
			t.Run(kr.name+"/"+string(p), func(t *testing.T) {
				t.Parallel()
				run(t, kr, p)
			})
		}
	}
}

// seen gives the values that a product in that precision multiplies.
func seen(p Precision, x []float32) []float32 {
	out := append([]float32(nil), x...)
	if p == BF16 {
		high.round(out)
	}
	return out
}

// tolerance is for sums of k products of numbers below 1: rounding of sums, and for BF16x2 of the 16 bits that it takes.
func tolerance(p Precision, k int) float64 {
	return map[Precision]float64{F32: 2e-5, BF16: 2e-5, BF16x2: 4e-5}[p] * math.Sqrt(float64(k)+1)
}

func TestHalfProductsMatchFloat64OnOddShapes(t *testing.T) {
	t.Parallel()
	eachPrecision(t, func(t *testing.T, kr *kernel, p Precision) {
		r := rand.New(rand.NewPCG(1, 2))
		shapes := halfShapes
		if p != F32 && kr.pairs == nil {
			shapes = halfShapes[:7] // rounding is all that is added to float32
		}
		for _, s := range shapes {
			productsMatch(t, r, kr, p, s)
		}
	})
}

// productsMatch compares products of rows, columns and depth s with float64, for everything that may be fused with them.
func productsMatch(t *testing.T, r *rand.Rand, kr *kernel, p Precision, s [3]int) {
	t.Helper()
	m, n, k := s[0], s[1], s[2]
	w, values := halves(r, k, n)
	w.Precision = p
	x, bias, before := random(r, m*k), random(r, n), random(r, m*n+3)
	want := reference(seen(p, x), seen(p, values), m, n, k)
	double := func(part []float32) {
		for i := range part {
			part[i] *= 2
		}
	}
	for name, c := range map[string]struct {
		fused Fused
		of    func(i int) float64
	}{
		"plain":      {Fused{}, func(i int) float64 { return want[i] }},
		"bias":       {Fused{Bias: bias}, func(i int) float64 { return want[i] + float64(bias[i%n]) }},
		"accumulate": {Fused{Accumulate: true}, func(i int) float64 { return want[i] + float64(before[i]) }},
		"all": {Fused{Bias: bias, Accumulate: true, Activate: double}, func(i int) float64 {
			return 2 * (want[i] + float64(bias[i%n]) + float64(before[i]))
		}},
	} {
		dst := append([]float32(nil), before...)
		kr.matMulHalf(dst, x, w, m, k, c.fused)
		for i, v := range dst[:m*n] {
			if d := math.Abs(c.of(i) - float64(v)); !(d <= tolerance(p, k)) { // require for each element is slow
				require.InDelta(t, c.of(i), v, tolerance(p, k), "%s: shape %v element %d", name, s, i)
			}
		}
		require.Equal(t, before[m*n:], dst[m*n:], "%s: shape %v wrote past its end", name, s)
	}
}

func TestHalfProductOfRowsThatLieApart(t *testing.T) {
	t.Parallel()
	const m, n, k, stride = 29, 37, 45, 61
	r := rand.New(rand.NewPCG(3, 3))
	w, values := halves(r, k, n)
	x := random(r, (m-1)*stride+k)
	dense := make([]float32, m*k)
	for i := range m {
		copy(dense[i*k:(i+1)*k], x[i*stride:])
	}
	got := make([]float32, m*n)
	w.MatMul(got, x, m, stride, Fused{})
	for i, want := range reference(dense, values, m, n, k) {
		require.InDelta(t, want, got[i], 1e-4)
	}
}

func TestHalfProductKeepsNotANumberAndInfinityInTheirRowAndColumn(t *testing.T) {
	t.Parallel()
	eachPrecision(t, notANumberAndInfinityStay)
}

func notANumberAndInfinityStay(t *testing.T, kr *kernel, p Precision) {
	t.Helper()
	const m, n, k = 29, 37, 45
	r := rand.New(rand.NewPCG(3, 4))
	w, _ := halves(r, k, n)
	w.Precision = p
	x, dst := random(r, m*k), make([]float32, m*n)
	x[7*k+3], x[9*k+4] = float32(math.NaN()), float32(math.Inf(-1))
	binary.LittleEndian.PutUint16(w.Data[2*(5*n+11):], 0x7c00)
	kr.matMulHalf(dst, x, w, m, k, Fused{})
	for i := range m {
		for j := range n {
			v := float64(dst[i*n+j])
			switch {
			case i == 7:
				require.True(t, math.IsNaN(v), "row of the NaN, column %d", j)
			case i == 9 || j == 11:
				require.False(t, !math.IsNaN(v) && !math.IsInf(v, 0), "row or column of an infinity, %d,%d: %v", i, j, v)
				require.False(t, p != BF16x2 && math.IsNaN(v) && (i != 9 || j != 11), "an infinity stays one, %d,%d", i, j)
			default:
				require.False(t, math.IsNaN(v) || math.IsInf(v, 0), "element %d,%d", i, j)
			}
		}
	}
}

func TestHalfProductOfARowDoesNotDependOnItsNeighbours(t *testing.T) {
	t.Parallel()
	const m, n, k = 253, 70, 400
	eachPrecision(t, func(t *testing.T, kr *kernel, p Precision) {
		r := rand.New(rand.NewPCG(5, 6))
		w, _ := halves(r, k, n)
		w.Precision = p
		x, together, alone := random(r, m*k), make([]float32, m*n), make([]float32, n)
		kr.matMulHalf(together, x, w, m, k, Fused{})
		for i := 0; i < m; i += 5 { // of every place in a tile, whose rows have no factor of 5
			kr.matMulHalf(alone, x[i*k:], w, 1, k, Fused{})
			require.Equal(t, alone, together[i*n:(i+1)*n], "row %d", i)
		}
	})
}

func TestEveryHalfIsConvertedExactly(t *testing.T) {
	t.Parallel()
	src := make([]byte, 2<<16)
	for h := range 1 << 16 {
		binary.LittleEndian.PutUint16(src[2*h:], uint16(h))
	}
	for _, kr := range kernels() {
		for _, n := range []int{1, 7, 8, 15, 17, 33, 1 << 16} {
			got := make([]float32, n+1)
			kr.halves(got[:n], src)
			for h, v := range got[:n] {
				if want := F16ToF32(uint16(h)); math.IsNaN(float64(want)) {
					require.True(t, math.IsNaN(float64(v)), "%s: half %#x", kr.name, h)
				} else {
					require.Equal(t, math.Float32bits(want), math.Float32bits(v), "%s: half %#x", kr.name, h)
				}
			}
			require.Zero(t, got[n], "%s: nothing is written beyond", kr.name)
		}
	}
}

func TestHalfProductRefusesWhatDoesNotFit(t *testing.T) {
	t.Parallel()
	w := HalfMatrix{In: 2, Out: 3, Data: make([]byte, 12)}
	require.Panics(t, func() { w.MatMul(make([]float32, 5), make([]float32, 4), 2, 2, Fused{}) })
	require.Panics(t, func() { w.MatMul(make([]float32, 6), make([]float32, 3), 2, 2, Fused{}) })
	require.Panics(t, func() { w.MatMul(make([]float32, 6), make([]float32, 4), 2, 0, Fused{}) })
	require.Panics(t, func() { w.MatMul(make([]float32, 6), make([]float32, 4), 2, 2, Fused{Bias: make([]float32, 2)}) })
	w.Data = w.Data[:11]
	require.Panics(t, func() { w.MatMul(make([]float32, 6), make([]float32, 4), 2, 2, Fused{}) })
}

func TestTileFlopsCountsWhatItRan(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 2*TileFlops(BF16, 1), TileFlops(BF16, 2), 0.5)
	require.Positive(t, TileFlops(F32, 1))
}

package tensor

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// reference is the product in float64.
func reference(x, w []float32, m, n, k int) []float64 {
	out := make([]float64, m*n)
	for i := range m {
		for j := range n {
			for l := range k {
				out[i*n+j] += float64(x[i*k+l]) * float64(w[j*k+l])
			}
		}
	}
	return out
}

func random(r *rand.Rand, n int) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = r.Float32()*2 - 1
	}
	return v
}

type product func(kr *kernel, dst, x, w []float32, m, n, k int)

var products = map[string]product{"panels": (*kernel).panels, "rows": (*kernel).rows}

func eachKernel(t *testing.T, run func(t *testing.T, kr *kernel, multiply product)) {
	t.Helper()
	for _, kr := range kernels() {
		for name, p := range products {
			t.Run(kr.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				run(t, kr, p)
			})
		}
	}
}

func TestProductsMatchFloat64OnOddShapes(t *testing.T) {
	t.Parallel()
	shapes := [][3]int{{1, 1, 1}, {1, 5, 3}, {3, 7, 2}, {12, 32, 16}, {13, 33, 17}, {4, 4, 385}, {5, 1, 400}, {16, 3, 1}, {241, 31, 65}, {97, 130, 769}, {250, 64, 33}, {1, 257, 1000}, {480, 96, 384}, {2, 0, 3}, {0, 2, 3}, {3, 3, 0}}
	eachKernel(t, func(t *testing.T, kr *kernel, multiply product) {
		r := rand.New(rand.NewPCG(1, 2))
		for _, s := range shapes {
			m, n, k := s[0], s[1], s[2]
			x, w := random(r, m*k), random(r, n*k)
			dst := make([]float32, m*n+3)
			for i := range dst {
				dst[i] = 77 // stale content must not show through, nor anything be written beyond the end
			}
			multiply(kr, dst, x, w, m, n, k)
			for i, want := range reference(x, w, m, n, k) {
				require.InDelta(t, want, dst[i], 1e-5*math.Sqrt(float64(k)+1), "shape %v element %d", s, i)
			}
			require.Equal(t, []float32{77, 77, 77}, dst[m*n:], "shape %v wrote past its end", s)
		}
	})
}

func TestNotANumberAndInfinityStayInTheirRowAndColumn(t *testing.T) {
	t.Parallel()
	const m, n, k = 29, 37, 45
	eachKernel(t, func(t *testing.T, kr *kernel, multiply product) {
		r := rand.New(rand.NewPCG(3, 4))
		x, w, dst := random(r, m*k), random(r, n*k), make([]float32, m*n)
		x[7*k+3] = float32(math.NaN())
		w[11*k+5] = float32(math.Inf(1))
		multiply(kr, dst, x, w, m, n, k)
		for i := range m {
			for j := range n {
				v := float64(dst[i*n+j])
				switch {
				case i == 7:
					require.True(t, math.IsNaN(v), "row of the NaN, column %d", j)
				case j == 11:
					require.True(t, math.IsInf(v, 0), "column of the infinity, row %d: %v", i, v)
				default:
					require.False(t, math.IsNaN(v) || math.IsInf(v, 0), "element %d,%d", i, j)
				}
			}
		}
	})
}

func TestARowDoesNotDependOnItsNeighbours(t *testing.T) {
	t.Parallel()
	const m, n, k = 53, 70, 400
	eachKernel(t, func(t *testing.T, kr *kernel, multiply product) {
		r := rand.New(rand.NewPCG(5, 6))
		x, w := random(r, m*k), random(r, n*k)
		together, alone := make([]float32, m*n), make([]float32, n)
		multiply(kr, together, x, w, m, n, k)
		for i := range m {
			multiply(kr, alone, x[i*k:], w, 1, n, k)
			require.Equal(t, alone, together[i*n:(i+1)*n], "row %d", i)
		}
	})
}

func TestWeightedRowsOnOddShapes(t *testing.T) {
	t.Parallel()
	for _, kr := range kernels() {
		t.Run(kr.name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(2, 2))
			for _, n := range []int{0, 1, 3, 4, 7, 33, 371} {
				for _, width := range []int{1, 5, 8, 16, 48, 61} {
					weights, rows, got := random(r, n), random(r, n*width), make([]float32, width+1)
					kr.weigh(got[:width], weights, rows)
					for j := range width {
						want := 0.0
						for i := range n {
							want += float64(weights[i]) * float64(rows[i*width+j])
						}
						require.InDelta(t, want, got[j], 1e-4, "%d rows of %d", n, width)
					}
					require.Zero(t, got[width], "nothing is written beyond the row")
				}
			}
		})
	}
}

func TestExponentials(t *testing.T) {
	t.Parallel()
	for _, kr := range kernels() {
		t.Run(kr.name, func(t *testing.T) {
			t.Parallel()
			var x []float32
			for v := float32(-86.9); v < 88; v += 0.0137 {
				x = append(x, v)
			}
			got := append([]float32(nil), x...)
			kr.exp(got)
			for i, v := range x {
				require.InEpsilon(t, math.Exp(float64(v)), got[i], 3e-7, "exp(%v)", v)
			}
			inf := float32(math.Inf(1))
			for n := range 40 { // in every lane and in the rest
				x := make([]float32, 40)
				for value, check := range map[float32]func(float64) bool{
					0: func(v float64) bool { return v == 1 }, -inf: func(v float64) bool { return v == 0 }, -1000: func(v float64) bool { return v == 0 },
					inf: func(v float64) bool { return v > 1e38 }, 1000: func(v float64) bool { return v > 1e38 },
				} {
					clear(x)
					x[n] = value
					kr.exp(x)
					require.True(t, check(float64(x[n])), "exp(%v) in lane %d is %v", value, n, x[n])
				}
				clear(x)
				x[n] = float32(math.NaN())
				kr.exp(x)
				require.True(t, math.IsNaN(float64(x[n])), "exp(NaN) in lane %d is %v", n, x[n])
			}
		})
	}
}

func TestMatMulTAcrossTheSwitchToPanels(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(7, 8))
	for _, m := range []int{1, fewRows - 1, fewRows, fewRows + 1, 300} {
		const n, k = 384, 256
		x, w, dst := random(r, m*k), random(r, n*k), make([]float32, m*n)
		MatMulT(dst, x, w, m, n, k)
		for i, want := range reference(x, w, m, n, k) {
			require.InDelta(t, want, dst[i], 1e-4)
		}
	}
	require.Panics(t, func() { MatMulT(make([]float32, 3), make([]float32, 4), make([]float32, 4), 2, 2, 2) })
}

// BenchmarkMatMulT reports GFLOP/s: go test -run - -bench MatMulT ./tensor
func BenchmarkMatMulT(b *testing.B) {
	for _, s := range [][3]int{{1, 1024, 256}, {4, 1024, 256}, {256, 768, 256}, {1056, 4800, 4800}} {
		m, n, k := s[0], s[1], s[2]
		for _, kr := range kernels() {
			b.Run(fmt.Sprintf("%dx%dx%d/%s", m, n, k, kr.name), func(b *testing.B) {
				r := rand.New(rand.NewPCG(9, 9))
				x, w, dst := random(r, m*k), random(r, n*k), make([]float32, m*n)
				multiply := (*kernel).panels
				if m < fewRows {
					multiply = (*kernel).rows
				}
				for b.Loop() {
					multiply(kr, dst, x, w, m, n, k)
				}
				b.ReportMetric(2*float64(m)*float64(n)*float64(k)*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			})
		}
	}
}

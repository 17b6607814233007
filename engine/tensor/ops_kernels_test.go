package tensor

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// Norms are bit for bit the same with every kernel on one machine, and swish is what it was as separate steps.
func TestPointwiseKernelsAreThoseOfPlainGo(t *testing.T) {
	t.Parallel()
	plain := goKernel()
	for _, kr := range kernels() {
		t.Run(kr.name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(4, 4))
			for _, n := range []int{0, 1, 3, 4, 7, 15, 16, 17, 64, 371, 4800} {
				x, weight, bias := random(r, n), random(r, n), random(r, n)
				require.Equal(t, plain.deviations(x, 0.25), kr.deviations(x, 0.25)) //nolint:testifylint // equal bits are meant
				require.Equal(t, plain.squares(x, 0.25), kr.squares(x, 0.25))       //nolint:testifylint // equal bits are meant
				want, got := make([]float32, n), make([]float32, n+1)
				plain.standardise(want, x, weight, bias, 0.25, 3)
				kr.standardise(got[:n], x, weight, bias, 0.25, 3)
				require.Equal(t, want, got[:n])
				require.Zero(t, got[n])

				steps := make([]float32, n)
				copy(steps, x)
				for i := range steps {
					steps[i] *= -1.702
				}
				kr.exp(steps)
				for i, v := range x {
					steps[i] = v / (1 + steps[i])
				}
				kr.swish(x, -1.702)
				require.Equal(t, steps, x)
			}
			special := []float32{float32(math.Inf(1)), float32(math.NaN()), 0, 200, -200}
			for len(special) < 35 {
				special = append(special, 1)
			}
			kr.swish(special, -1)
			require.True(t, math.IsInf(float64(special[0]), 1))
			require.True(t, math.IsNaN(float64(special[1])))
			require.Zero(t, special[2])
			require.InDelta(t, 200, special[3], 0)
			require.InDelta(t, 0, special[4], 1e-30)
			require.InDelta(t, 1/(1+math.Exp(-1)), special[34], 1e-6)
		})
	}
}

// lengths are those of whole vectors, less and more, for steps of one vector and of four.
var lengths = []int{0, 1, 7, 8, 9, 15, 16, 17, 31, 33, 63, 64, 65, 127, 128, 130, 1500}

func TestStepsOfASoftmaxAreThoseOfPlainGo(t *testing.T) {
	t.Parallel()
	for _, kr := range kernels() {
		t.Run(kr.name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewPCG(5, 6))
			for _, n := range lengths {
				x := random(r, n+1)
				scaleGo(x, 20)
				x[n] = 1e9 // beyond the values: nothing may read or write it
				high := greatestGo(x[:n])
				require.Equal(t, high, kr.greatest(x[:n])) //nolint:testifylint // equal bits are meant
				want, wantSum := make([]float64, n), 0.0
				for i, v := range x[:n] {
					want[i] = math.Exp(float64(v - high))
					wantSum += want[i]
				}
				sum := kr.expSum(x[:n], high)
				require.InEpsilon(t, wantSum+1, sum+1, 1e-6, "of %d", n)
				for i, v := range want {
					require.InEpsilon(t, v+1e-30, x[i]+1e-30, 3e-7, "value %d of %d", i, n)
				}
				scaled := slices.Clone(x)
				scaleGo(scaled[:n], 1/sum)
				kr.scale(x[:n], 1/sum)
				require.Equal(t, scaled, x)
				require.InDelta(t, 1e9, x[n], 0)
			}
		})
	}
}

// The greatest value is found in every place, and what is not a number or infinite is taken as plain Go takes it.
func TestTheGreatestValueIsFoundInEveryPlace(t *testing.T) {
	t.Parallel()
	inf, nan := float32(math.Inf(1)), float32(math.NaN())
	for _, kr := range kernels() {
		require.True(t, math.IsInf(float64(kr.greatest(nil)), -1))
		for n := range 150 {
			x := make([]float32, 150)
			for i := range x {
				x[i] = -inf
			}
			x[n] = -3
			require.InDelta(t, -3, kr.greatest(x), 0, "%s, place %d", kr.name, n)
			for i := range x {
				x[i] = nan
			}
			x[n] = -3
			require.InDelta(t, -3, kr.greatest(x), 0, "%s, place %d", kr.name, n)
			clear(x)
			x[n] = nan
			require.True(t, math.IsNaN(float64(kr.expSum(x, 0))), "%s, place %d", kr.name, n)
			clear(x)
			x[n] = -inf
			require.InDelta(t, 149, kr.expSum(x, 0), 0, "%s, place %d", kr.name, n)
		}
	}
}

func TestGELUByTableIsThatOfPlainGo(t *testing.T) {
	t.Parallel()
	for _, kr := range kernels() {
		t.Run(kr.name, func(t *testing.T) {
			t.Parallel()
			var x []float32
			for v := float32(-6.5); v < 6.5; v += 0.00137 {
				x = append(x, v)
			}
			x = append(x, 0, geluEnd, -geluEnd, 1e9, -1e9, float32(math.Inf(1)), float32(math.Inf(-1)), 5.9999995, -5.9999995)
			for range 20 { // every value once in a whole vector at least
				x = append(x, 1)
			}
			want, got := slices.Clone(x), slices.Clone(x)
			geluGo(want)
			kr.gelu(got)
			require.Equal(t, want, got)
			for i, v := range x {
				if !math.IsInf(float64(v), 0) {
					require.InDelta(t, 0.5*float64(v)*(1+math.Erf(float64(v)/math.Sqrt2)), got[i], 2e-8+1.2e-7*math.Abs(float64(got[i])), "GELU(%v)", v)
				}
			}
			for n := range 20 {
				x := make([]float32, 20)
				x[n] = float32(math.NaN())
				kr.gelu(x)
				require.True(t, math.IsNaN(float64(x[n])), "place %d", n)
			}
			for _, n := range lengths {
				x := random(r(), n+1)
				want := slices.Clone(x)
				geluGo(want[:n])
				kr.gelu(x[:n])
				require.Equal(t, want, x)
			}
		})
	}
}

func r() *rand.Rand { return rand.New(rand.NewPCG(6, 7)) }

func TestRowsAreSpreadAndInterleavedAsByPlainGo(t *testing.T) {
	t.Parallel()
	for _, kr := range kernels() {
		t.Run(kr.name, func(t *testing.T) {
			t.Parallel()
			for _, n := range lengths {
				from := random(r(), 5*(n+kr.nr))
				want, got := make([]float32, n+1), make([]float32, n+1)
				spreadGo(want[:n], from, kr.nr, 3*kr.nr)
				kr.spread(got[:n], from, 3*kr.nr)
				require.Equal(t, want, got)
				if n == 0 {
					continue
				}
				want, got = make([]float32, 6*n), make([]float32, 6*n)
				interleaveGo(want[1:], from, n+2, 6, n)
				kr.interleave(got[1:], from, n+2, 6, n)
				require.Equal(t, want, got)
			}
		})
	}
}

package tensor

import (
	"math"
	"math/rand/v2"
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

package tensor

import (
	"encoding/binary"
	"testing"

	"github.com/stretchr/testify/require"
)

// Weights that are stored [out, in] give the products of the same weights stored [in, out].
func TestRowsArePackedAsTheirTranspose(t *testing.T) {
	t.Parallel()
	for _, kr := range []*kernel{goKernel(), active()} {
		for _, p := range Precisions() {
			const m, n, k = checkRows, checkColumns, checkDepth
			half := HalfMatrix{In: k, Out: n, Data: make([]byte, 2*k*n), Precision: p}
			rows, x := make([]float32, n*k), sample(m*k, 1)
			for i, v := range sample(k*n, 11) {
				h := F32ToF16(v)
				binary.LittleEndian.PutUint16(half.Data[2*i:], h)
				rows[i%n*k+i/n] = F16ToF32(h)
			}
			got, want := make([]float32, m*n), make([]float32, m*n)
			kr.matMulHalf(want, x, half, m, k, Fused{})
			var packed Packed
			packed.packRows(kr, rows, n, k, p)
			packed.matMul(kr, got, x, m, k, Fused{})
			require.Equal(t, want, got, "%s %s", kr.name, p)
		}
	}
}

// Rows may overlap: a convolution is a product with rows that begin within each other.
func TestRowsOfAProductMayOverlap(t *testing.T) {
	t.Parallel()
	const m, n, k, stride = 33, 7, 12, 4
	w, x := sample(n*k, 3), sample((m-1)*stride+k, 4)
	apart := make([]float32, 0, m*k)
	for i := range m {
		apart = append(apart, x[i*stride:][:k]...)
	}
	var packed Packed
	packed.PackRows(w, n, k, F32)
	got, want := make([]float32, m*n), make([]float32, m*n)
	packed.MatMul(got, x, m, stride, Fused{})
	packed.MatMul(want, apart, m, k, Fused{})
	require.Equal(t, want, got)
}

func TestGELUTableIsTheErrorFunctions(t *testing.T) {
	t.Parallel()
	var x, want []float32
	for v := float32(-12); v < 12; v += 0.00173 {
		x, want = append(x, v), append(want, v)
	}
	GELU(want)
	GELUTable(x)
	for i := range x {
		require.InDelta(t, want[i], x[i], 2e-7*max(1, float64(want[i])))
	}
}

package tensor

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestSoftmaxSumsToOneAndStandsLargeValues(t *testing.T) {
	t.Parallel()
	x := []float32{1000, 1001, 999, float32(math.Inf(-1))}
	Softmax(x)
	require.InDelta(t, 1, x[0]+x[1]+x[2]+x[3], 1e-6)
	require.InDelta(t, math.E, x[1]/x[0], 1e-5)
	require.Zero(t, x[3])
	Softmax(nil)
}

func TestNormsAgainstTheirFormulas(t *testing.T) {
	t.Parallel()
	x := []float32{1, -2, 3, 0, 0, 0}
	weight, bias := []float32{1, 2, 3}, []float32{0.5, 0, -1}
	got := make([]float32, 6)
	RMSNorm(got, x, weight, 2, 1e-6)
	rms := math.Sqrt(14.0/3 + 1e-6)
	require.InDeltaSlice(t, []float64{1 / rms, -4 / rms, 9 / rms, 0, 0, 0}, got, 1e-6)

	LayerNorm(got, x, weight, bias, 2, 1e-5)
	mean := 2.0 / 3
	dev := math.Sqrt((math.Pow(1-mean, 2)+math.Pow(-2-mean, 2)+math.Pow(3-mean, 2))/3 + 1e-5)
	require.InDeltaSlice(t, []float64{(1-mean)/dev + 0.5, 2 * (-2 - mean) / dev, 3*(3-mean)/dev - 1, 0.5, 0, -1}, got, 1e-5)
}

func TestActivations(t *testing.T) {
	t.Parallel()
	x := []float32{-3, 0, 1, 20}
	SiLU(x)
	require.InDeltaSlice(t, []float64{-0.14227761, 0, 0.73105858, 20}, x, 1e-6)
	x = []float32{-1, 0, 1, 5}
	GELU(x)
	require.InDeltaSlice(t, []float64{-0.15865525, 0, 0.84134475, 4.99999857}, x, 1e-6)
	x = []float32{-1, 0, 2}
	ReLU(x)
	require.Equal(t, []float32{0, 0, 2}, x)
	AddBias(x, []float32{1}, 3)
	Mul(x, []float32{2, 3, 4})
	require.Equal(t, []float32{2, 3, 12}, x)
}

func TestFinite(t *testing.T) {
	t.Parallel()
	require.True(t, Finite([]float32{0, -1, math.MaxFloat32}))
	require.False(t, Finite([]float32{0, float32(math.NaN())}))
	require.False(t, Finite([]float32{float32(math.Inf(-1))}))
}

func TestRotaryKeepsLengthAndDependsOnDistanceOnly(t *testing.T) {
	t.Parallel()
	const width, heads = 16, 3
	r := rand.New(rand.NewPCG(1, 1))
	rot := NewRotary(width, 64, 10000)
	q, k := random(r, width*heads), random(r, width*heads)
	dot := func(qPos, kPos int) float64 {
		a, b := append([]float32(nil), q...), append([]float32(nil), k...)
		rot.Apply(a, qPos)
		rot.Apply(b, kPos)
		return float64(dotGo(a, b))
	}
	require.InDelta(t, float64(dotGo(q, k)), dot(9, 9), 1e-5)
	require.InDelta(t, dot(20, 5), dot(50, 35), 1e-4)
	require.Greater(t, math.Abs(dot(20, 5)-dot(20, 6)), 1e-4)

	half := []float32{1, 0} // one pair: an angle of pos radians
	NewRotary(2, 2, 10000).Apply(half, 1)
	require.InDeltaSlice(t, []float64{math.Cos(1), math.Sin(1)}, half, 1e-6)
}

func TestHalfPrecisionRoundTripsEveryValue(t *testing.T) {
	t.Parallel()
	for h := range 1 << 16 {
		half := uint16(h)
		if f := F16ToF32(half); math.IsNaN(float64(f)) {
			require.True(t, math.IsNaN(float64(F16ToF32(F32ToF16(f)))))
		} else {
			require.Equal(t, half, F32ToF16(f), "f16 %#x", half)
		}
		if f := BF16ToF32(half); math.IsNaN(float64(f)) {
			require.True(t, math.IsNaN(float64(BF16ToF32(F32ToBF16(f)))))
		} else {
			require.Equal(t, half, F32ToBF16(f), "bf16 %#x", half)
		}
	}
}

func TestHalfPrecisionRounding(t *testing.T) {
	t.Parallel()
	require.Equal(t, uint16(0x3c00), F32ToF16(1))
	require.Equal(t, uint16(0x3c00), F32ToF16(1+0x1p-11), "half way goes to even")
	require.Equal(t, uint16(0x3c02), F32ToF16(1+3*0x1p-11), "half way goes to even")
	require.Equal(t, uint16(0x7bff), F32ToF16(65519))
	require.Equal(t, uint16(0x7c00), F32ToF16(65520))
	require.Equal(t, uint16(0x0001), F32ToF16(0x1p-24))
	require.Equal(t, uint16(0x8000), F32ToF16(-0x1p-26))
	require.Equal(t, uint16(0x3f80), F32ToBF16(1+0x1p-9))
	require.Equal(t, uint16(0x3f82), F32ToBF16(1+3*0x1p-8))
	require.Equal(t, uint16(0x7f80), F32ToBF16(math.MaxFloat32))
}

func TestGELUTanhIsCloseToGELU(t *testing.T) {
	t.Parallel()
	x := []float32{-1, 0, 1, 5}
	GELUTanh(x)
	require.InDeltaSlice(t, []float64{-0.15880801, 0, 0.84119199, 4.99999971}, x, 1e-6)
}

func TestWeightedRowsIsAProductWithTheRows(t *testing.T) {
	t.Parallel()
	r := rand.New(rand.NewPCG(2, 2))
	for _, n := range []int{0, 1, 3, 4, 7, 33} {
		const width = 5
		weights, rows := random(r, n), random(r, n*width)
		got := []float32{1, 1, 1, 1, 1}
		WeightedRows(got, weights, rows)
		for j := range width {
			want := 1.0
			for i := range n {
				want += float64(weights[i]) * float64(rows[i*width+j])
			}
			require.InDelta(t, want, got[j], 1e-5)
		}
	}
}

func TestQuickGELU(t *testing.T) {
	t.Parallel()
	x := []float32{-1, 0, 1, 5}
	QuickGELU(x)
	sigmoid := func(v float64) float64 { return 1 / (1 + math.Exp(-v)) }
	require.InDeltaSlice(t, []float64{-sigmoid(-1.702), 0, sigmoid(1.702), 5 * sigmoid(5*1.702)}, x, 1e-6)
}

func TestLayerNormOfManyValuesMatchesItsFormula(t *testing.T) {
	t.Parallel()
	const width = 4803
	r := rand.New(rand.NewPCG(4, 4))
	x, weight, bias, got := random(r, width), random(r, width), random(r, width), make([]float32, width)
	LayerNorm(got, x, weight, bias, 1, 1e-5)
	var mean, squares float64
	for _, v := range x {
		mean += float64(v) / width
	}
	for _, v := range x {
		squares += (float64(v) - mean) * (float64(v) - mean) / width
	}
	for i, v := range x {
		require.InDelta(t, (float64(v)-mean)/math.Sqrt(squares+1e-5)*float64(weight[i])+float64(bias[i]), got[i], 1e-6)
	}
}

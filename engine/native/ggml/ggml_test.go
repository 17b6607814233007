package ggml_test

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/native/ggml"
	"github.com/larkstream/larkstream/engine/native/nativetest"
)

func open(t *testing.T) *ggml.Library {
	t.Helper()
	l, err := ggml.Bind(nativetest.Open(t))
	require.NoError(t, err)
	return l
}

func processor(t *testing.T) *ggml.Backend {
	t.Helper()
	d, err := open(t).Device("cpu")
	require.NoError(t, err)
	b, err := d.Backend()
	require.NoError(t, err)
	require.NoError(t, b.SetThreads(1))
	t.Cleanup(b.Close)
	return b
}

func context(t *testing.T) *ggml.Context {
	t.Helper()
	x, err := open(t).NewContext(64, 64)
	require.NoError(t, err)
	t.Cleanup(x.Close)
	return x
}

func TestDevices(t *testing.T) {
	t.Parallel()
	devices := open(t).Devices()
	require.NotEmpty(t, devices)
	d, err := open(t).Device("CPU")
	require.NoError(t, err)
	require.Equal(t, ggml.CPU, d.Kind)
	require.NotEmpty(t, d.Description)
	_, total := d.Memory()
	require.Positive(t, total)
	require.NotEmpty(t, d.Memories())
	_, err = open(t).Device("none")
	require.ErrorContains(t, err, "CPU")
}

func fill(n int, f func(i int) float64) []float32 {
	v := make([]float32, n)
	for i := range v {
		v[i] = float32(f(i))
	}
	return v
}

// A normalised input times weights under a causal softmax, against the same in plain Go.
func TestAttentionLikeGraph(t *testing.T) {
	t.Parallel()
	const dim, steps, scale, eps = 96, 40, 0.25, 1e-5
	b, x := processor(t), context(t)
	in, weights := x.Tensor(ggml.F32, dim, steps), x.Tensor(ggml.F32, dim, steps)
	gain, mask := x.Tensor(ggml.F32, dim), x.Tensor(ggml.F32, steps, steps)
	out := x.SoftMax(x.MulMat(weights, x.Mul(x.Norm(in, eps), gain)), mask, scale)
	require.NoError(t, x.Err())
	g, err := x.Graph(64, out)
	require.NoError(t, err)
	require.Empty(t, g.Unsupported(b.Device))
	buffer, err := x.Alloc(b.Device.Memories()[0])
	require.NoError(t, err)
	t.Cleanup(buffer.Close)

	inV, weightV := fill(dim*steps, func(i int) float64 { return math.Sin(.7 * float64(i)) }), fill(dim*steps, func(i int) float64 { return .2 * math.Cos(.3*float64(i)) })
	gainV := fill(dim, func(i int) float64 { return 1 + .01*float64(i) })
	maskV := fill(steps*steps, func(i int) float64 {
		if i%steps > i/steps {
			return math.Inf(-1)
		}
		return 0
	})
	require.NoError(t, ggml.Set(in, inV))
	require.NoError(t, ggml.Set(weights, weightV))
	require.NoError(t, ggml.Set(gain, gainV))
	require.NoError(t, ggml.Set(mask, maskV))
	require.NoError(t, b.Compute(g))
	got := make([]float32, steps*steps)
	require.NoError(t, ggml.GetAt(out, 0, got))
	require.InDeltaSlice(t, attention(inV, weightV, gainV, dim, steps, scale, eps), got, 1e-5)
}

func attention(in, weights, gain []float32, dim, steps int, scale, eps float64) []float32 {
	out := make([]float32, steps*steps)
	for s := range steps {
		var mean, variance, sum float64
		row := in[s*dim : (s+1)*dim]
		for _, v := range row {
			mean += float64(v) / float64(dim)
		}
		for _, v := range row {
			variance += (float64(v) - mean) * (float64(v) - mean) / float64(dim)
		}
		logits := make([]float64, s+1)
		for j := range logits {
			for i, v := range row {
				logits[j] += (float64(v) - mean) / math.Sqrt(variance+eps) * float64(gain[i]) * float64(weights[j*dim+i])
			}
			logits[j] = math.Exp(logits[j] * scale)
			sum += logits[j]
		}
		for j, v := range logits {
			out[s*steps+j] = float32(v / sum)
		}
	}
	return out
}

func TestShapesThatDoNotFit(t *testing.T) {
	t.Parallel()
	for name, op := range map[string]func(x *ggml.Context, a, b ggml.Tensor) ggml.Tensor{
		"mul_mat":  func(x *ggml.Context, a, b ggml.Tensor) ggml.Tensor { return x.MulMat(a, b) },
		"add":      func(x *ggml.Context, a, b ggml.Tensor) ggml.Tensor { return x.Add(a, b) },
		"soft_max": func(x *ggml.Context, a, b ggml.Tensor) ggml.Tensor { return x.SoftMax(a, b, 1) },
		"reshape":  func(x *ggml.Context, a, _ ggml.Tensor) ggml.Tensor { return x.Reshape(a, 5) },
		"permute":  func(x *ggml.Context, a, _ ggml.Tensor) ggml.Tensor { return x.Permute(a, [4]int{0, 0, 1, 2}) },
		"view":     func(x *ggml.Context, a, _ ggml.Tensor) ggml.Tensor { return x.View(a, []int64{8, 3}, nil, 64) },
		"get_rows": func(x *ggml.Context, a, b ggml.Tensor) ggml.Tensor { return x.GetRows(a, b) },
		"concat":   func(x *ggml.Context, a, b ggml.Tensor) ggml.Tensor { return x.Concat(a, b, 1) },
		"tensor":   func(x *ggml.Context, _, _ ggml.Tensor) ggml.Tensor { return x.Tensor(ggml.Q8_0, 33) },
		"no one":   func(x *ggml.Context, a, _ ggml.Tensor) ggml.Tensor { return x.Add(a, ggml.Tensor{}) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			x := context(t)
			got := op(x, x.Tensor(ggml.F32, 8, 4), x.Tensor(ggml.F32, 7, 3))
			require.False(t, got.Valid())
			require.Error(t, x.Err())
			_, err := x.Graph(8, got)
			require.Error(t, err)
		})
	}
}

func TestFullContext(t *testing.T) {
	t.Parallel()
	x := context(t)
	a := x.Tensor(ggml.F32, 4)
	for range 1000 {
		a = x.Add(a, a)
	}
	require.ErrorContains(t, x.Err(), "full")
}

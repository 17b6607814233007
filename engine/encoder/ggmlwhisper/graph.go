package ggmlwhisper

import (
	"math"

	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/native/ggml"
)

// graph writes a part of the encoder down as operations on tensors. Shapes are ggml's, the innermost dimension first: activations of n rows are
// [width, n].
type graph struct {
	*ggml.Context
	config audiobundle.Config
	state  *state
	layout layout
	arithmetic
}

// arithmetic is how products are computed.
type arithmetic struct {
	// split says that the device rounds operands to halves, and that results must be better than that, so that products take operands apart, see
	// product.
	split bool
}

const floatBytes = 4

// The low part of a split operand is scaled up by splitScale, 2¹¹, so that it is as large as the high part.
const splitScale = 2048

// takeApart gives high + low/splitScale = x to 22 bits: high is a half, and of low as many bits count.
func (g *graph) takeApart(x ggml.Tensor) (high, low ggml.Tensor) {
	high = g.Cast(g.Cast(x, ggml.F16), ggml.F32)
	return high, g.Scale(g.Sub(x, high), splitScale)
}

// product is x·w for weights w [in, out], which lose nothing as halves, and activations x [in, n].
func (g *graph) product(w, x ggml.Tensor) ggml.Tensor {
	if !g.split {
		return g.multiply(w, x)
	}
	high, low := g.takeApart(x)
	return g.Add(g.multiply(w, high), g.Scale(g.multiply(w, low), 1.0/splitScale))
}

// multiply is a product summed in float32.
func (g *graph) multiply(a, b ggml.Tensor) ggml.Tensor {
	t := g.MulMat(a, b)
	t.Accumulate32()
	return t
}

// productOf is product for two activations; the product of the low parts is below what float32 holds.
func (g *graph) productOf(a, b ggml.Tensor) ggml.Tensor {
	if !g.split {
		return g.multiply(a, b)
	}
	aHigh, aLow := g.takeApart(a)
	bHigh, bLow := g.takeApart(b)
	low := g.Add(g.multiply(aHigh, bLow), g.multiply(aLow, bHigh))
	return g.Add(g.multiply(aHigh, bHigh), g.Scale(low, 1.0/splitScale))
}

func (g *graph) linear(w linear, x ggml.Tensor) ggml.Tensor {
	return g.Add(g.product(w.weight, x), w.bias)
}

func (g *graph) norm(w norm, x ggml.Tensor) ggml.Tensor {
	return g.Add(g.Mul(g.Norm(x, audiobundle.NormEpsilon), w.weight), w.bias)
}

// rows is n rows of a flat tensor of float32.
func (g *graph) rows(t ggml.Tensor, width, first, n int) ggml.Tensor {
	return g.View(t, []int64{int64(width), int64(n)}, nil, int64(first)*int64(floatBytes*width))
}

// convolved is a convolution of rows [in, any] with kernels of three: the product with n rows of three that follow each other and begin stride apart.
func (g *graph) convolved(w linear, x ggml.Tensor, in, stride, n int) ggml.Tensor {
	tap := func(i int) ggml.Tensor {
		return g.View(x, []int64{int64(in), int64(n)}, []int64{int64(stride * in * floatBytes)}, int64(i*in*floatBytes))
	}
	return g.GELUErf(g.linear(w, g.Concat(g.Concat(tap(0), tap(1), 0), tap(2), 0)))
}

// stem sets the activations that enter the first layer.
func (g *graph) stem(w *weights) []ggml.Tensor {
	c, slots := g.config, g.layout.slots
	wide := g.convolved(w.conv1, g.rows(g.state.input, c.Mels, 0, slots), c.Mels, 1, slots-2)
	wide = g.Mul(wide, g.View(g.state.mask, []int64{1, int64(slots - 2)}, nil, 0))
	wide = g.Concat(g.rows(g.state.zeros, c.Width, 0, 1), wide, 1)
	half := g.convolved(w.conv2, wide, c.Width, 2, slots/2-1)
	ids := func(t ggml.Tensor) ggml.Tensor { return g.View(t, []int64{int64(g.layout.rows)}, nil, 0) }
	x := g.Add(g.GetRows(half, ids(g.state.picked)), g.GetRows(w.positions, ids(g.state.places)))
	return []ggml.Tensor{g.Copy(x, g.activations())}
}

// activations is the residual stream [width, rows], which stays on the device from layer to layer.
func (g *graph) activations() ggml.Tensor { return g.rows(g.state.x, g.config.Width, 0, g.layout.rows) }

// layer adds one layer's attention and hidden layer to the activations.
func (g *graph) layer(l layer) []ggml.Tensor {
	x := g.activations()
	h := g.Add(x, g.linear(l.out, g.attention(g.linear(l.qkv, g.norm(l.norm1, x)))))
	m := g.linear(l.down, g.GELUErf(g.linear(l.up, g.norm(l.norm2, h))))
	return []ggml.Tensor{g.Copy(g.Add(h, m), x)}
}

// attention gives softmax(q·kᵀ/√size)·v of all heads, [width, rows], from qkv [3·width, rows]; the rows of a span see one another.
func (g *graph) attention(qkv ggml.Tensor) ggml.Tensor {
	var parts []ggml.Tensor
	for _, s := range g.layout.groups() {
		parts = append(parts, g.heads(qkv, s))
	}
	return g.join(parts)
}

// heads computes the attention of a group, [width, count·rows].
func (g *graph) heads(qkv ggml.Tensor, s group) ggml.Tensor {
	c := g.config
	size := c.Width / c.Heads
	row := int64(3 * c.Width * floatBytes)
	part := func(which int) ggml.Tensor { // [size, heads, rows, count]
		return g.View(qkv, []int64{int64(size), int64(c.Heads), int64(s.rows), int64(s.count)},
			[]int64{int64(size * floatBytes), row, int64(s.rows) * row}, int64(s.first)*row+int64(which*c.Width*floatBytes))
	}
	byHead := [4]int{0, 2, 1, 3}
	q, k := g.Cont(g.Permute(part(0), byHead)), g.Cont(g.Permute(part(1), byHead)) // [size, rows, heads, count]
	v := g.Cont(g.Permute(part(2), [4]int{1, 2, 0, 3}))                            // [rows, size, heads, count]
	weights := g.SoftMax(g.productOf(k, q), ggml.Tensor{}, float32(1/math.Sqrt(float64(size))))
	mixed := g.Permute(g.productOf(v, weights), byHead) // [size, heads, rows, count]
	return g.ContShape(mixed, int64(c.Width), int64(s.count*s.rows))
}

// join puts parts [width, n] one behind the other.
func (g *graph) join(parts []ggml.Tensor) ggml.Tensor {
	if len(parts) == 1 {
		return parts[0]
	}
	half := len(parts) / 2
	return g.Concat(g.join(parts[:half]), g.join(parts[half:]), 1)
}

// pool averages neighbouring rows of each span, standardises the frames, and gives the operations that store them.
func (g *graph) pool(w *weights) (stored []ggml.Tensor) {
	width, first := g.config.Width, 0
	for _, s := range g.layout.pairs() {
		n := s.Rows / 2
		if n == 0 {
			continue
		}
		every := func(offset int) ggml.Tensor {
			return g.View(g.state.x, []int64{int64(width), int64(n)}, []int64{int64(2 * width * floatBytes)}, int64((s.First+offset)*width*floatBytes))
		}
		means := g.Scale(g.Add(g.Cont(every(0)), g.Cont(every(1))), 0.5)
		stored = append(stored, g.Copy(g.norm(w.last, means), g.rows(g.state.frames, width, first, n)))
		first += n
	}
	return stored
}

package ggmlwhisper

import (
	"math"

	"github.com/larkstream/larkstream/engine/encoder/ggmlgraph"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/native/ggml"
)

// graph writes a part of the encoder down as operations on tensors. Shapes are ggml's, the innermost dimension first: activations of n rows are
// [width, n].
type graph struct {
	ggmlgraph.Graph
	config audiobundle.Config
	state  *state
	layout layout
}

// convolved is a convolution of rows [in, any] with kernels of three: the product with n rows of three that follow each other and begin stride apart.
func (g *graph) convolved(w ggmlgraph.Linear, x ggml.Tensor, in, stride, n int) ggml.Tensor {
	tap := func(i int) ggml.Tensor {
		return g.View(x, []int64{int64(in), int64(n)}, []int64{int64(stride * in * ggmlgraph.FloatBytes)}, int64(i*in*ggmlgraph.FloatBytes))
	}
	return g.GELUErf(g.Linear(w, g.Concat(g.Concat(tap(0), tap(1), 0), tap(2), 0)))
}

// stem sets the activations that enter the first layer.
func (g *graph) stem(w *weights) []ggml.Tensor {
	c, slots := g.config, g.layout.slots
	wide := g.convolved(w.conv1, g.Rows(g.state.input, c.Mels, 0, slots), c.Mels, 1, slots-2)
	wide = g.Mul(wide, g.View(g.state.mask, []int64{1, int64(slots - 2)}, nil, 0))
	wide = g.Concat(g.Rows(g.state.zeros, c.Width, 0, 1), wide, 1)
	half := g.convolved(w.conv2, wide, c.Width, 2, slots/2-1)
	ids := func(t ggml.Tensor) ggml.Tensor { return g.View(t, []int64{int64(g.layout.rows)}, nil, 0) }
	x := g.Add(g.GetRows(half, ids(g.state.picked)), g.GetRows(w.positions, ids(g.state.places)))
	return []ggml.Tensor{g.Copy(x, g.activations())}
}

// activations is the residual stream [width, rows], which stays on the device from layer to layer.
func (g *graph) activations() ggml.Tensor { return g.Rows(g.state.x, g.config.Width, 0, g.layout.rows) }

// layer adds one layer's attention and hidden layer to the activations.
func (g *graph) layer(l layer) []ggml.Tensor {
	x := g.activations()
	h := g.Add(x, g.Linear(l.out, g.attention(g.Linear(l.qkv, g.Standardised(l.norm1, x, audiobundle.NormEpsilon)))))
	m := g.Linear(l.down, g.GELUErf(g.Linear(l.up, g.Standardised(l.norm2, h, audiobundle.NormEpsilon))))
	return []ggml.Tensor{g.Copy(g.Add(h, m), x)}
}

// attention gives softmax(q·kᵀ/√size)·v of all heads, [width, rows], from qkv [3·width, rows]; the rows of a span see one another.
func (g *graph) attention(qkv ggml.Tensor) ggml.Tensor {
	var parts []ggml.Tensor
	for _, s := range g.layout.groups() {
		parts = append(parts, g.heads(qkv, s))
	}
	return g.Join(parts)
}

// heads computes the attention of a group, [width, count·rows].
func (g *graph) heads(qkv ggml.Tensor, s group) ggml.Tensor {
	c := g.config
	size := c.Width / c.Heads
	row := int64(3 * c.Width * ggmlgraph.FloatBytes)
	part := func(which int) ggml.Tensor { // [size, heads, rows, count]
		return g.View(qkv, []int64{int64(size), int64(c.Heads), int64(s.rows), int64(s.count)},
			[]int64{int64(size * ggmlgraph.FloatBytes), row, int64(s.rows) * row}, int64(s.first)*row+int64(which*c.Width*ggmlgraph.FloatBytes))
	}
	byHead := [4]int{0, 2, 1, 3}
	q, k := g.Cont(g.Permute(part(0), byHead)), g.Cont(g.Permute(part(1), byHead)) // [size, rows, heads, count]
	v := g.Cont(g.Permute(part(2), [4]int{1, 2, 0, 3}))                            // [rows, size, heads, count]
	weights := g.SoftMax(g.ProductOf(k, q), ggml.Tensor{}, float32(1/math.Sqrt(float64(size))))
	mixed := g.Permute(g.ProductOf(v, weights), byHead) // [size, heads, rows, count]
	return g.ContShape(mixed, int64(c.Width), int64(s.count*s.rows))
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
			return g.View(g.state.x, []int64{int64(width), int64(n)}, []int64{int64(2 * width * ggmlgraph.FloatBytes)}, int64((s.First+offset)*width*ggmlgraph.FloatBytes))
		}
		means := g.Scale(g.Add(g.Cont(every(0)), g.Cont(every(1))), 0.5)
		stored = append(stored, g.Copy(g.Standardised(w.last, means, audiobundle.NormEpsilon), g.Rows(g.state.frames, width, first, n)))
		first += n
	}
	return stored
}

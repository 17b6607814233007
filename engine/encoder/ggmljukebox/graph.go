package ggmljukebox

import (
	"math"

	"github.com/larkstream/larkstream/engine/encoder/ggmlgraph"
	"github.com/larkstream/larkstream/engine/encoder/jukebox"
	"github.com/larkstream/larkstream/engine/model/jukeboxbundle"
	"github.com/larkstream/larkstream/engine/native/ggml"
)

// graph writes a part of the prior down as operations on tensors. Shapes are ggml's, the innermost dimension first: activations of
// n positions are [width, n].
type graph struct {
	ggmlgraph.Graph
	config jukebox.Config
	state  *state
	layout layout
}

// quickGELU is x·sigmoid(1.702 x). ggml has it as one operation too, which its CPU backend looks up in a table of halves.
func (g *graph) quickGELU(x ggml.Tensor) ggml.Tensor { return g.Mul(x, g.Sigmoid(g.Scale(x, 1.702))) }

// embed sets the activations that enter the first block.
func (g *graph) embed() ggml.Tensor {
	ids := func(t ggml.Tensor) ggml.Tensor { return g.View(t, []int64{int64(g.layout.positions())}, nil, 0) }
	x := g.Add(g.GetRows(g.state.codeTable, ids(g.state.codes)), g.GetRows(g.state.positionTable, ids(g.state.positions)))
	return g.Copy(x, g.activations())
}

// activations is the residual stream [width, positions], which stays on the device from block to block.
func (g *graph) activations() ggml.Tensor {
	return g.Rows(g.state.x, g.config.Width, 0, g.layout.positions())
}

// block adds one block's attention and hidden layer to the activations.
func (g *graph) block(d int, w block) ggml.Tensor {
	x := g.activations()
	qkv := g.Linear(w.attn, g.Standardised(w.norm0, x, jukebox.NormEpsilon))
	h := g.Add(x, g.Linear(w.attnOut, g.attention(pattern(d%int(patterns)), qkv)))
	m := g.Linear(w.mlpOut, g.quickGELU(g.Linear(w.mlpIn, g.Standardised(w.norm1, h, jukebox.NormEpsilon))))
	return g.Copy(g.Add(h, m), x)
}

// pool averages every frameRows rows of each window to a frame, and gives the operations that store them.
func (g *graph) pool() (stored []ggml.Tensor) {
	width, first := g.config.Width, 0
	for _, s := range g.layout {
		groups := g.Reshape(g.Rows(g.state.x, width, s.first, s.frames*jukeboxbundle.PoolFrames), int64(width), jukeboxbundle.PoolFrames, int64(s.frames))
		means := g.Mean(g.Cont(g.Permute(groups, [4]int{1, 0, 2, 3}))) // [1, width, frames]
		stored = append(stored, g.Copy(g.Reshape(means, int64(width), int64(s.frames)), g.Rows(g.state.frames, width, first, s.frames)))
		first += s.frames
	}
	return stored
}

// pattern says which positions a block's queries see.
type pattern int

const (
	inBlock       pattern = iota // earlier positions of the own block
	across                       // earlier positions at the same place of their blocks
	previousBlock                // the whole block before; the first block sees zeros
	patterns
)

// attention gives softmax(q·kᵀ/√width)·v of all heads, [state, positions], from qkv [3·state, positions]. The queries that see the same
// keys form a group, so that nothing is as large as positions by positions.
func (g *graph) attention(kind pattern, qkv ggml.Tensor) ggml.Tensor {
	block := g.config.Context / g.config.Blocks
	if kind == inBlock { // the blocks of all windows at once
		blocks := groups{count: g.layout.positions() / block, size: block, step: 1, next: block}
		return g.inOrder(g.heads(qkv, blocks, blocks, g.state.blockMask), blocks)
	}
	var parts []ggml.Tensor
	mask := 0
	for _, s := range g.layout {
		blocks := s.positions / block
		if kind == across {
			columns := groups{first: s.first, count: block, size: blocks, step: block, next: 1}
			visible := g.Rows(g.state.acrossMasks, 1, mask, blocks*blocks)
			mask += maskRoom(blocks)
			parts = append(parts, g.inOrder(g.heads(qkv, columns, columns, g.Reshape(visible, int64(blocks), int64(blocks))), columns))
			continue
		}
		parts = append(parts, g.Rows(g.state.zeros, g.config.State, 0, block)) // keys and values of zeros give zeros
		if blocks > 1 {
			keys := groups{first: s.first, count: blocks - 1, size: block, step: 1, next: block}
			queries := keys
			queries.first += block
			parts = append(parts, g.inOrder(g.heads(qkv, queries, keys, ggml.Tensor{}), queries))
		}
	}
	return g.Join(parts)
}

// groups are the positions first + i·next + j·step, for i in count groups and j below their size.
type groups struct{ first, count, size, step, next int }

// heads computes the attention of groups of queries on groups of keys, [head, size, heads, count].
func (g *graph) heads(qkv ggml.Tensor, queries, keys groups, mask ggml.Tensor) ggml.Tensor {
	c := g.config
	head := c.State / c.Heads
	row := int64(3 * c.State * ggmlgraph.FloatBytes)
	part := func(o groups, which int) ggml.Tensor { // [head, heads, size, count]
		return g.View(qkv, []int64{int64(head), int64(c.Heads), int64(o.size), int64(o.count)},
			[]int64{int64(head * ggmlgraph.FloatBytes), int64(o.step) * row, int64(o.next) * row}, int64(o.first)*row+int64(which*c.State*ggmlgraph.FloatBytes))
	}
	byHead := [4]int{0, 2, 1, 3}
	q, k := g.Cont(g.Permute(part(queries, 0), byHead)), g.Cont(g.Permute(part(keys, 1), byHead)) // [head, size, heads, count]
	v := g.Cont(g.Permute(part(keys, 2), [4]int{1, 2, 0, 3}))                                     // [size, head, heads, count]
	weights := g.SoftMax(g.ProductOf(k, q), mask, float32(1/math.Sqrt(float64(head))))
	return g.ProductOf(v, weights)
}

// inOrder puts what heads gave in the order of positions, [state, count·size].
func (g *graph) inOrder(o ggml.Tensor, from groups) ggml.Tensor {
	if from.step == 1 {
		o = g.Permute(o, [4]int{0, 2, 1, 3}) // [head, heads, size, count]
	} else {
		o = g.Permute(o, [4]int{0, 3, 1, 2}) // [head, heads, count, size]
	}
	return g.ContShape(o, int64(g.config.State), int64(from.count*from.size))
}

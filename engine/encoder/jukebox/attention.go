package jukebox

import (
	"math"

	"github.com/larkstream/larkstream/engine/tensor"
)

// pattern says which positions a layer's queries see. None is ever laid out as a matrix of positions by positions: the queries that
// see the same keys form a group.
type pattern int

const (
	inBlock       pattern = iota // earlier positions of the own block
	across                       // earlier positions at the same place of their blocks
	previousBlock                // the whole block before; the first block sees zeros
	patterns
)

// group is a set of queries and the keys they see: positions first, first + step, ..., count of each.
type group struct {
	query, queries int
	key, keys      int
	step           int
	causal         bool // query i sees keys 0 to i only
}

// groups covers the positions [0, n) that see anything.
func (p pattern) groups(n, block int) []group {
	var list []group
	switch p {
	case inBlock:
		for first := 0; first < n; first += block {
			rows := min(block, n-first)
			list = append(list, group{first, rows, first, rows, 1, true})
		}
	case across:
		for column := range min(block, n) {
			rows := (n - column + block - 1) / block
			list = append(list, group{column, rows, column, rows, block, true})
		}
	default:
		for first := block; first < n; first += block {
			list = append(list, group{first, min(block, n-first), first - block, block, 1, false})
		}
	}
	return list
}

// headLanes is what the width of a head is rounded up to with zeros, so that the inner loops take whole vectors.
const headLanes = 16

// heads is the memory in which one group and head is computed.
type heads struct{ q, k, v, scores, out []float32 }

// longestGroup is how many positions a group can have.
func (c Config) longestGroup() int { return max(c.block(), c.Blocks) }

func newHeads(c Config) *heads {
	rows := c.longestGroup()
	wide := rows * padded(c.head())
	return &heads{make([]float32, wide), make([]float32, wide), make([]float32, wide), make([]float32, rows*rows), make([]float32, padded(c.head()))}
}

func padded(head int) int { return (head + headLanes - 1) / headLanes * headLanes }

// attend replaces the queries in qkv [n, 3·state], of which each row holds query, key and value, by the attention's result. A
// head is a contiguous slice of them.
func (p *prior) attend(kind pattern, qkv []float32, n int, free chan *heads) {
	groups := kind.groups(n, p.config.block())
	work := n * p.config.longestGroup() * p.config.State
	tensor.Parallel(len(groups)*p.config.Heads, work, func(item int) {
		h := <-free
		p.head(groups[item/p.config.Heads], item%p.config.Heads, qkv, h)
		free <- h
	})
	if kind == previousBlock { // keys and values of zeros give zeros
		for i := range min(p.config.block(), n) {
			clear(qkv[i*3*p.config.State:][:p.config.State])
		}
	}
}

// head computes softmax(q·kᵀ/√width)·v of one group and head.
func (p *prior) head(g group, head int, qkv []float32, h *heads) {
	width := p.config.head()
	wide := padded(width)
	part := func(position, which int) []float32 { return qkv[(position*3+which)*p.config.State+head*width:][:width] }
	collect := func(dst []float32, first, count, which int) []float32 {
		for i := range count {
			row := dst[i*wide:][:wide]
			clear(row[copy(row, part(first+i*g.step, which)):])
		}
		return dst[:count*wide]
	}
	q, k, v := collect(h.q, g.query, g.queries, 0), collect(h.k, g.key, g.keys, 1), collect(h.v, g.key, g.keys, 2)
	scores := h.scores[:g.queries*g.keys]
	tensor.MatMulT(scores, q, k, g.queries, g.keys, wide)
	scale := float32(1 / math.Sqrt(float64(width)))
	for i := range g.queries {
		visible := g.keys
		if g.causal {
			visible = i + 1
		}
		row := scores[i*g.keys:][:visible]
		for j := range row {
			row[j] *= scale
		}
		tensor.Softmax(row)
		clear(h.out)
		tensor.WeightedRows(h.out, row, v[:visible*wide])
		copy(part(g.query+i*g.step, 0), h.out[:width])
	}
}

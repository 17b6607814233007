package jukebox

import (
	"context"
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/engine/tensor"
)

// normEps is PyTorch's default of LayerNorm, which the reference uses.
const normEps = 1e-5

// chunkRows is how many rows pass through the linear layers at once; it bounds the memory of intermediate values.
const chunkRows = 2048

// prior is the transformer over codes.
type prior struct {
	config    Config
	codes     table // [Bins, Width]
	positions table // [Context, Width]
	condition condition
	layers    []layer
}

// layer is one block of the transformer.
type layer struct {
	norm0, norm1                  norm
	attn, attnOut, mlpIn, mlpOut  tensor.HalfMatrix
	attnB, attnOutB, mlpInB, outB []float32
}

type norm struct{ weight, bias []float32 }

func loadPrior(r *reader, c Config) *prior {
	p := &prior{config: c}
	p.codes, p.positions = r.raw("prior.x_emb.weight", c.Bins, c.Width), r.raw("prior.pos_emb.pos_emb", c.Context, c.Width)
	p.condition = loadCondition(r, c)
	for d := range c.Layers {
		p.layers = append(p.layers, p.loadLayer(r, fmt.Sprintf("prior.transformer._attn_mods.%d.", d)))
	}
	return p
}

func (p *prior) loadLayer(r *reader, name string) layer {
	width := p.config.Width
	vector := func(part string, n int) []float32 { return r.values(name+part, n) }
	return layer{
		norm0: norm{vector("ln_0.weight", width), vector("ln_0.bias", width)}, norm1: norm{vector("ln_1.weight", width), vector("ln_1.bias", width)},
		attn: r.matrix(name+"attn.c_attn.w", width, 3*p.config.State), attnB: vector("attn.c_attn.b", 3*p.config.State),
		attnOut: r.matrix(name+"attn.c_proj.w", p.config.State, width), attnOutB: vector("attn.c_proj.b", width),
		mlpIn: r.matrix(name+"mlp.c_fc.w", width, p.config.MLP), mlpInB: vector("mlp.c_fc.b", p.config.MLP),
		mlpOut: r.matrix(name+"mlp.c_proj.w", p.config.MLP, width), outB: vector("mlp.c_proj.b", width),
	}
}

// room is how many values run works with.
func (p *prior) room() int {
	rows := min(chunkRows, p.config.Context)
	return p.config.Context*(p.config.Width+3*p.config.State) + rows*(p.config.Width+p.config.MLP)
}

// work is the memory of one window.
type work struct {
	x, qkv         []float32 // [Context, Width] and [Context, 3·state]
	normed, hidden []float32 // [chunkRows, ...]
	heads          chan *heads
	packed         *packedLayer
}

// packedLayer is the matrices of one layer as products want them.
type packedLayer struct{ attn, attnOut, mlpIn, mlpOut tensor.Packed }

// pack lays the matrices of a layer out, in the memory of the layer before.
func (p *packedLayer) pack(l *layer) {
	p.attn.Pack(l.attn)
	p.attnOut.Pack(l.attnOut)
	p.mlpIn.Pack(l.mlpIn)
	p.mlpOut.Pack(l.mlpOut)
}

// divide cuts one piece of memory up.
func (p *prior) divide(all []float32, heads chan *heads, packed *packedLayer) *work {
	take := func(n int) []float32 {
		part := all[:n:n]
		all = all[n:]
		return part
	}
	rows := min(chunkRows, p.config.Context)
	return &work{
		x: take(p.config.Context * p.config.Width), qkv: take(p.config.Context * 3 * p.config.State),
		normed: take(rows * p.config.Width), hidden: take(rows * p.config.MLP), heads: heads, packed: packed,
	}
}

// errNotFinite reports overflow, which weights of sane size do not cause.
var errNotFinite = errors.New("activations are not finite")

// run computes the activations [n, Width] of the first n positions after the last layer; they lie in w.x. No position sees a later
// one, so that a short clip costs in proportion. after is called with the activations that enter the first layer, as layer -1, and
// with those of each layer.
func (p *prior) run(ctx context.Context, w *work, codes []int32, n int, mark func(Part), after func(layer int, x []float32)) error {
	p.embed(w.x, codes, n)
	x := w.x[:n*p.config.Width]
	after(-1, x)
	for d := range p.layers {
		if err := p.layer(ctx, d, w, n, mark); err != nil {
			return err
		}
		after(d, x)
	}
	if !tensor.Finite(x) {
		return errNotFinite
	}
	return nil
}

// embed sets the rows that enter the first layer: the embedding of the code before, or the start; plus position; plus conditioning.
func (p *prior) embed(x []float32, codes []int32, n int) {
	width := p.config.Width
	tensor.Parallel(n, n*width*8, func(i int) {
		row := x[i*width:][:width]
		if i == 0 {
			copy(row, p.condition.start)
		} else {
			p.codes.row(row, int(codes[i-1]))
		}
		p.positions.addRow(row, i)
		p.condition.addTo(row, i)
	})
}

// layer adds one block's attention and hidden layer to x. ctx is looked at between pieces of about a second.
func (p *prior) layer(ctx context.Context, d int, w *work, n int, mark func(Part)) error {
	l, width, wide := &p.layers[d], p.config.Width, 3*p.config.State
	mark(PartPacking)
	w.packed.pack(l)
	err := chunks(ctx, n, func(first, rows int) {
		x := w.x[first*width:][:rows*width]
		mark(PartRest)
		l.norm0.apply(w.normed, x, rows)
		mark(PartProjections)
		w.packed.attn.MatMul(w.qkv[first*wide:], w.normed, rows, width, tensor.Fused{Bias: l.attnB})
	})
	if err != nil {
		return err
	}
	mark(PartAttention)
	p.attend(pattern(d%int(patterns)), w.qkv, n, w.heads)
	return chunks(ctx, n, func(first, rows int) {
		x := w.x[first*width:][:rows*width]
		mark(PartProjections)
		w.packed.attnOut.MatMul(x, w.qkv[first*wide:], rows, wide, tensor.Fused{Bias: l.attnOutB, Accumulate: true})
		mark(PartRest)
		l.norm1.apply(w.normed, x, rows)
		mark(PartMLP)
		w.packed.mlpIn.MatMul(w.hidden, w.normed, rows, width, tensor.Fused{Bias: l.mlpInB, Activate: tensor.QuickGELU})
		w.packed.mlpOut.MatMul(x, w.hidden, rows, p.config.MLP, tensor.Fused{Bias: l.outB, Accumulate: true})
	})
}

// chunks calls do for [0, n) piece by piece until ctx ends.
func chunks(ctx context.Context, n int, do func(first, rows int)) error {
	for first := 0; first < n; first += chunkRows {
		if err := ctx.Err(); err != nil {
			return err
		}
		do(first, min(chunkRows, n-first))
	}
	return nil
}

// apply sets dst to the norm of rows of x.
func (o norm) apply(dst, x []float32, rows int) {
	width := len(o.weight)
	tensor.Parallel(rows, rows*width*8, func(i int) {
		tensor.LayerNorm(dst[i*width:], x[i*width:], o.weight, o.bias, 1, normEps)
	})
}

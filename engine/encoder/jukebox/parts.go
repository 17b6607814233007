package jukebox

import (
	"context"
	"fmt"

	"github.com/larkstream/larkstream/engine/tensor"
)

// What follows is for engines that run the prior elsewhere, with the weights, codes and embeddings of this one.

// Linear is x·Weight + Bias.
type Linear struct {
	Weight tensor.HalfMatrix
	Bias   []float32
}

// Norm is a LayerNorm over rows, with NormEpsilon.
type Norm struct{ Weight, Bias []float32 }

// NormEpsilon is PyTorch's default of LayerNorm, which the reference uses.
const NormEpsilon = normEps

// Block is the weights of one block of the prior, of which a layer is x += attnOut(attention(attn(norm0(x)))), then
// x += mlpOut(quickGELU(mlpIn(norm1(x)))).
type Block struct {
	Norm0, Norm1                 Norm
	Attn, AttnOut, MLPIn, MLPOut Linear
}

// Block gives the weights of block d, in 0 to Layers-1.
func (e *Encoder) Block(d int) Block {
	l := &e.prior.layers[d]
	return Block{
		Norm0: Norm{l.norm0.weight, l.norm0.bias}, Norm1: Norm{l.norm1.weight, l.norm1.bias},
		Attn: Linear{l.attn, l.attnB}, AttnOut: Linear{l.attnOut, l.attnOutB}, MLPIn: Linear{l.mlpIn, l.mlpInB}, MLPOut: Linear{l.mlpOut, l.outB},
	}
}

// StartEmbedding sets dst [Width] to what stands for the code before the first.
func (e *Encoder) StartEmbedding(dst []float32) { copy(dst, e.prior.condition.start) }

// CodeEmbedding sets dst [Width] to the embedding of a code in 0 to Bins-1.
func (e *Encoder) CodeEmbedding(dst []float32, code int) { e.prior.codes.row(dst, code) }

// PositionEmbedding sets dst [Width] to what is added to the embedding of the code before a position in 0 to Context-1.
func (e *Encoder) PositionEmbedding(dst []float32, position int) {
	e.prior.positions.row(dst, position)
	e.prior.condition.addTo(dst, position)
}

// FrameCodes gives the codes of the positions that a clip's frames are averaged from, 34 for each of n frames, as Encode computes
// them. Errors are those of Encode.
func (e *Encoder) FrameCodes(ctx context.Context, pcm []int16) (codes []int32, n int, err error) {
	if n = e.config.Frames(len(pcm)); n == 0 {
		return nil, 0, fmt.Errorf("encoding a clip of %d samples: %w", len(pcm), ErrTooShort)
	}
	w, err := e.take(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer func() { e.free <- w }()
	if err := e.encodeCodes(ctx, w, pcm, n*frameRows); err != nil {
		return nil, 0, err
	}
	return append([]int32(nil), w.codes[:n*frameRows]...), n, nil
}

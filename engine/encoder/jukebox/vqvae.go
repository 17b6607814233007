package jukebox

import (
	"context"
	"fmt"
	"math"

	"github.com/larkstream/larkstream/engine/model/jukeboxbundle"
	"github.com/larkstream/larkstream/engine/tensor"
)

const (
	dilationGrowth = 3 // from one residual unit to the next
	// margin is more codes than lie on either side of a code and yet in what its value depends on, 21,038 samples.
	margin = 168
)

// vqvae is the encoder of level 2 and its codebook.
type vqvae struct {
	width    int // of its latents
	steps    []step
	codebook tensor.Packed // [width, bins]
	norms    []float32     // squared length of each entry
	memory   buffers
}

// step is one convolution or one residual unit.
type step struct {
	conv *conv
	unit *residual
}

func loadVQVAE(r *reader, c Config) *vqvae {
	v := &vqvae{width: c.CodeWidth}
	in, wide := 1, c.ConvWidth
	for b, downs := range jukeboxbundle.Downs() {
		prefix := fmt.Sprintf("encoders.2.level_blocks.%d.model", b)
		for i := range downs {
			down := loadConv(r, fmt.Sprintf("%s.%d.0", prefix, i), in, wide, jukeboxbundle.KernelStrided, 2, 1, 1)
			v.steps = append(v.steps, step{conv: down})
			for u, dilation := 0, 1; u < jukeboxbundle.Depth; u, dilation = u+1, dilation*dilationGrowth {
				name := fmt.Sprintf("%s.%d.1.model.%d.model", prefix, i, u)
				v.steps = append(v.steps, step{unit: &residual{
					wide:   loadConv(r, name+".1", wide, wide, 3, 1, dilation, dilation),
					narrow: loadConv(r, name+".3", wide, wide, 1, 1, 1, 0),
				}})
			}
			in = wide
		}
		out := loadConv(r, fmt.Sprintf("%s.%d", prefix, downs), wide, v.width, 3, 1, 1, 1)
		v.steps = append(v.steps, step{conv: out})
		in = v.width
	}
	codebook := r.values("bottleneck.level_blocks.2.k", c.Bins, v.width)
	v.norms = make([]float32, c.Bins)
	if r.err == nil {
		for i := range v.norms {
			v.norms[i] = squared(codebook[i*v.width:][:v.width])
		}
		v.codebook.PackT(codebook, c.Bins, v.width)
	}
	return v
}

// vqRoom is how many values each of the two buffers of encode needs for that many samples: the outputs of the first convolution are
// the most, unless latents are very wide.
func (c Config) vqRoom(samples int) int { return max(samples/2*c.ConvWidth, samples/8*c.CodeWidth) }

// encode computes the latents [len(samples)/hop, width]; they lie in one of the buffers.
func (v *vqvae) encode(ctx context.Context, samples, a, b []float32) ([]float32, error) {
	n, from, buffers := len(samples), samples, [2][]float32{a, b}
	for i, s := range v.steps {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		to := buffers[i%2]
		if s.conv != nil {
			s.conv.apply(to, from, n, &v.memory)
			n = s.conv.length(n)
		} else {
			s.unit.apply(to, from, n, &v.memory)
		}
		from = to
	}
	return from[:n*v.width], nil
}

// quantiseRows is how many latents are compared with the codebook in one work item.
const quantiseRows = 64

// quantise sets each code to the entry of the codebook that is nearest to its latent, ‖e‖² - 2e·k + ‖k‖² being least.
func (v *vqvae) quantise(codes []int32, latents []float32) {
	tensor.Parallel((len(codes)+quantiseRows-1)/quantiseRows, len(codes)*len(v.norms)*v.width, func(item int) {
		first := item * quantiseRows
		rows := min(quantiseRows, len(codes)-first)
		bins := len(v.norms)
		buf := v.memory.take(rows * bins)
		defer v.memory.give(buf)
		products := *buf
		part := latents[first*v.width:][:rows*v.width]
		v.codebook.MatMul(products, part, rows, v.width, tensor.Fused{})
		for i := range rows {
			length := squared(part[i*v.width:][:v.width])
			codes[first+i] = v.nearest(length, products[i*bins:][:bins])
		}
	})
}

// nearest is the first entry of the least distance.
func (v *vqvae) nearest(length float32, products []float32) int32 {
	best, least := 0, float32(math.Inf(1))
	for i, p := range products {
		if d := length - 2*p + v.norms[i]; d < least {
			best, least = i, d
		}
	}
	return int32(best)
}

func squared(x []float32) float32 {
	sum := float32(0)
	for _, v := range x {
		sum += v * v
	}
	return sum
}

// normalise converts PCM to float32 as the reference does: divided by 32768, then by the largest magnitude of the whole clip, unless
// it is silent; cut to the length of dst, or padded with zeros after it.
func normalise(dst []float32, pcm []int16) {
	peak := 0
	for _, v := range pcm {
		peak = max(peak, int(v), -int(v))
	}
	n := min(len(dst), len(pcm))
	scale := float32(peak) / 32768
	for i, v := range pcm[:n] {
		dst[i] = float32(v) / 32768
		if peak > 0 {
			dst[i] /= scale
		}
	}
	clear(dst[n:])
}

// Package projector turns the frames of an audio embedding into the soft prompt that the decoder reads.
package projector

import (
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
)

// ErrShape says that an embedding is not as wide as the projector's input.
var ErrShape = errors.New("embedding of another width than the projector's input")

// Projector turns frames [n, in] into soft prompts [n, out], in float32: a linear layer y = x W^T + b (LLark, Qwen2.5-Omni, Qwen2-Audio), or two
// with GELU between them (Audio Flamingo 3), before which the frames may be rotated by their time (Music Flamingo). It is safe for concurrent use.
type Projector struct {
	in, out int
	layers  []layer
	rotary  *rotary // nil: the frames stay
}

type layer struct {
	weight []float32 // [out, in]
	bias   []float32 // [out]
}

// Names are the names of the layers' tensors in a projector's file, without .weight and .bias: for a linear layer those of LLark's checkpoints
// (m2t/models/llamav2.py), for two layers those of transformers.
func Names(kind string) []string {
	if kind == "" {
		return []string{"model.mm_projector"}
	}
	return []string{"linear_1", "linear_2"}
}

// Open reads the projector of a bundle.
func Open(b *model.Bundle) (p *Projector, err error) {
	file, err := model.OpenSafetensors(b.ProjectorPath())
	if err != nil {
		return nil, fmt.Errorf("opening projector: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	p = &Projector{in: b.Projector.In, out: b.Projector.Out}
	width := p.in
	for _, name := range Names(b.Projector.Kind) {
		var l layer
		if l.weight, err = file.F32(name+".weight", p.out, width); err != nil {
			return nil, fmt.Errorf("opening projector: %w", err)
		}
		if l.bias, err = file.F32(name+".bias", p.out); err != nil {
			return nil, fmt.Errorf("opening projector: %w", err)
		}
		if !tensor.Finite(l.weight) || !tensor.Finite(l.bias) {
			return nil, fmt.Errorf("opening projector: %s holds NaN or infinity: it is damaged, import the model again", b.ProjectorPath())
		}
		p.layers, width = append(p.layers, l), p.out
	}
	if b.Projector.Kind == model.RoTE {
		p.rotary = newRotary(p.in)
	}
	return p, nil
}

// Width is the number of values in a row of the soft prompt.
func (p *Projector) Width() int { return p.out }

// Project makes the soft prompt of a window that stands alone; the error is ErrShape if the frames have another width.
func (p *Projector) Project(e tensor.Matrix) (tensor.Matrix, error) { return p.ProjectAt(e, 0) }

// ProjectAt is Project for window number w of the windows of one prompt, which follow each other from 0 on.
func (p *Projector) ProjectAt(e tensor.Matrix, w int) (tensor.Matrix, error) {
	if e.Cols != p.in || e.Rows <= 0 || len(e.Data) != e.Rows*e.Cols {
		return tensor.Matrix{}, fmt.Errorf("projecting %d x %d: %w of %d", e.Rows, e.Cols, ErrShape, p.in)
	}
	x, width := p.Rotate(e, w).Data, p.in
	for i, l := range p.layers {
		if i > 0 {
			tensor.GELUTable(x)
		}
		out := make([]float32, e.Rows*p.out)
		tensor.MatMulT(out, x, l.weight, e.Rows, p.out, width)
		tensor.AddBias(out, l.bias, e.Rows)
		x, width = out, p.out
	}
	return tensor.Matrix{Rows: e.Rows, Cols: p.out, Data: x}, nil
}

// Rotate gives the frames as the first layer takes them: rotated by their time where the projector does that, else as they are.
func (p *Projector) Rotate(e tensor.Matrix, w int) tensor.Matrix {
	if p.rotary == nil {
		return e
	}
	return p.rotary.apply(e, w)
}

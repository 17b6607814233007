// Package projector turns the frames of an audio embedding into the soft prompt that the decoder reads.
package projector

import (
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
)

// Names of the tensors in the projector's file, as LLark's checkpoints have them (m2t/models/llamav2.py, mm_projector).
const (
	weightName = "model.mm_projector.weight"
	biasName   = "model.mm_projector.bias"
)

// ErrShape says that an embedding is not as wide as the projector's input.
var ErrShape = errors.New("embedding of another width than the projector's input")

// Projector is the linear layer y = x W^T + b from frames [n, in] to soft prompts [n, out], in float32, without activation or
// norm. It is safe for concurrent use.
type Projector struct {
	in, out int
	weight  []float32 // [out, in]
	bias    []float32 // [out]
}

// Open reads the projector of a bundle.
func Open(b *model.Bundle) (p *Projector, err error) {
	file, err := model.OpenSafetensors(b.ProjectorPath())
	if err != nil {
		return nil, fmt.Errorf("opening projector: %w", err)
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	p = &Projector{in: b.Projector.In, out: b.Projector.Out}
	if p.weight, err = file.F32(weightName, p.out, p.in); err != nil {
		return nil, fmt.Errorf("opening projector: %w", err)
	}
	if p.bias, err = file.F32(biasName, p.out); err != nil {
		return nil, fmt.Errorf("opening projector: %w", err)
	}
	if !tensor.Finite(p.weight) || !tensor.Finite(p.bias) {
		return nil, fmt.Errorf("opening projector: %s holds NaN or infinity: it is damaged, import the model again", b.ProjectorPath())
	}
	return p, nil
}

// Width is the number of values in a row of the soft prompt.
func (p *Projector) Width() int { return p.out }

// Project applies the layer to every frame; the error is ErrShape if the frames have another width.
func (p *Projector) Project(e tensor.Matrix) (tensor.Matrix, error) {
	if e.Cols != p.in || e.Rows <= 0 || len(e.Data) != e.Rows*e.Cols {
		return tensor.Matrix{}, fmt.Errorf("projecting %d x %d: %w of %d", e.Rows, e.Cols, ErrShape, p.in)
	}
	out := make([]float32, e.Rows*p.out)
	tensor.MatMulT(out, e.Data, p.weight, e.Rows, p.out, p.in)
	for at := 0; at < len(out); at += p.out {
		row := out[at : at+p.out]
		for j, b := range p.bias {
			row[j] += b
		}
	}
	return tensor.Matrix{Rows: e.Rows, Cols: p.out, Data: out}, nil
}

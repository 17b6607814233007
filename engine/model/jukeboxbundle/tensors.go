package jukeboxbundle

import (
	"fmt"
	"strings"
)

// Tensor is one that a bundle holds.
type Tensor struct {
	Name  string
	Shape []int
	// Matrix marks the matrices of the prior, [in, out], kept in F16; all else is kept in F32.
	Matrix bool
	// gain is the deviation of random values relative to 1/sqrt(inputs) for weights, else the deviation itself.
	gain float64
	// mean is the mean of random values.
	mean float64
}

// Tensors lists what a bundle holds, in the order of the file. The names are the names in the published checkpoints.
func (c Config) Tensors() []Tensor {
	all := c.encoderTensors()
	table := func(name string, rows int, deviation float64) {
		all = append(all, Tensor{Name: name, Shape: []int{rows, c.Width}, gain: deviation})
	}
	table("y_emb.bow_genre_emb.emb.weight", c.Genres, 0.6)
	table("y_emb.artist_emb.emb.weight", c.Artists, 0.6)
	table("y_emb.total_length_emb.emb.weight", TimeBins, 0.3)
	table("y_emb.absolute_pos_emb.emb.weight", TimeBins, 0.3)
	table("y_emb.relative_pos_emb.emb.weight", TimeBins, 0.3)
	table("prior.x_emb.weight", c.Bins, 0.8)
	table("prior.pos_emb.pos_emb", c.Context, 0.5)
	for layer := range c.Layers {
		all = append(all, c.layerTensors(fmt.Sprintf("prior.transformer._attn_mods.%d.", layer))...)
	}
	return all
}

// layerTensors are the tensors of one block of the prior.
func (c Config) layerTensors(prefix string) []Tensor {
	var all []Tensor
	conv := func(name string, in, out int, gain float64) {
		all = append(all,
			Tensor{Name: prefix + name + ".w", Shape: []int{in, out}, Matrix: true, gain: gain},
			Tensor{Name: prefix + name + ".b", Shape: []int{out}, gain: 0.05})
	}
	norm := func(name string) {
		all = append(all,
			Tensor{Name: prefix + name + ".weight", Shape: []int{c.Width}, gain: 0.1, mean: 1},
			Tensor{Name: prefix + name + ".bias", Shape: []int{c.Width}, gain: 0.05})
	}
	conv("attn.c_attn", c.Width, 3*c.State, 1.2)
	conv("attn.c_proj", c.State, c.Width, 0.7)
	norm("ln_0")
	conv("mlp.c_fc", c.Width, c.MLP, 1)
	conv("mlp.c_proj", c.MLP, c.Width, 0.7)
	norm("ln_1")
	return all
}

// encoderTensors are the tensors of the level-2 encoder of the VQ-VAE and of its codebook. Kernels are [out, in, width].
func (c Config) encoderTensors() []Tensor {
	var all []Tensor
	conv := func(name string, out, in, kernel int, gain float64) {
		all = append(all,
			Tensor{Name: name + ".weight", Shape: []int{out, in, kernel}, gain: gain},
			Tensor{Name: name + ".bias", Shape: []int{out}, gain: 0.05})
	}
	for block, stages := range Downs() {
		prefix := fmt.Sprintf("encoders.2.level_blocks.%d.model.", block)
		for stage := range stages {
			in := c.ConvWidth
			if stage == 0 {
				in = c.CodeWidth
			}
			gain := 1.0
			if stage == 0 && block == 0 {
				in, gain = 1, 4 // audio has a deviation of about 0.2
			}
			conv(fmt.Sprintf("%s%d.0", prefix, stage), c.ConvWidth, in, KernelStrided, gain)
			for unit := range Depth {
				name := fmt.Sprintf("%s%d.1.model.%d.model.", prefix, stage, unit)
				conv(name+"1", c.ConvWidth, c.ConvWidth, 3, 1.4)
				conv(name+"3", c.ConvWidth, c.ConvWidth, 1, 0.4)
			}
		}
		conv(fmt.Sprintf("%s%d", prefix, stages), c.CodeWidth, c.ConvWidth, 3, 1)
	}
	return append(all, Tensor{Name: codebook, Shape: []int{c.Bins, c.CodeWidth}, gain: 0.8})
}

const codebook = "bottleneck.level_blocks.2.k"

// dtype is the element type in a bundle.
func (t Tensor) dtype() string {
	if t.Matrix {
		return "F16"
	}
	return "F32"
}

// elements is the product of the shape.
func (t Tensor) elements() int64 {
	n := int64(1)
	for _, d := range t.Shape {
		n *= int64(d)
	}
	return n
}

// inputs is the number of values that each output of a matrix or kernel sums, 1 for others.
func (t Tensor) inputs() int {
	switch {
	case t.Matrix:
		return t.Shape[0]
	case len(t.Shape) == 3:
		return t.Shape[1] * t.Shape[2]
	}
	return 1
}

// isPrior tells in which of the two checkpoints the tensor lies.
func (t Tensor) isPrior() bool {
	return strings.HasPrefix(t.Name, "prior.") || strings.HasPrefix(t.Name, "y_emb.")
}

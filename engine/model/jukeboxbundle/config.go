// Package jukeboxbundle makes encoder bundles of Jukebox, the music model whose 5-billion-parameter prior LLark listens with:
// from the published checkpoints, or of random weights. Formulas, names and shapes are those of
// https://github.com/openai/jukebox.
package jukeboxbundle

import (
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/engine/model"
)

const (
	// Engine is encoder.engine of the bundles.
	Engine = model.Jukebox
	// File is the name of the weights in a bundle.
	File = "encoder.safetensors"

	// SampleRate of the audio, Hz.
	SampleRate = 44100
	// Hop is the number of samples per code, at level 2 of the VQ-VAE.
	Hop = 128
	// PoolFrames is the number of positions that are averaged into one frame: floor(44100/128/10).
	PoolFrames = 34

	// TimeBins is the number of rows of each table of time embeddings; the conditioning formula depends on it.
	TimeBins = 128
	// Depth is the number of residual units behind each strided convolution of the VQ-VAE.
	Depth = 4
	// KernelStrided is the width of the strided convolutions.
	KernelStrided = 4
)

// Downs are the numbers of strided convolutions, each halving the rate, in the three blocks of the level-2 encoder.
func Downs() []int { return []int{3, 2, 2} }

// Config holds the sizes of an encoder.
type Config struct {
	// Layers of the prior that are run, Heads of its attention, and Blocks into which its context is cut.
	Layers, Heads, Blocks int
	// Context is the number of positions, one per code.
	Context int
	// Width of the prior, State of its attention (all heads together) and MLP (hidden layer).
	Width, State, MLP int
	// Bins is the number of codes, CodeWidth the width of their vectors, and ConvWidth the width of the VQ-VAE's layers.
	Bins, CodeWidth, ConvWidth int
	// Genres and Artists are the rows of the tables of labels.
	Genres, Artists int
}

// bounds of the sizes; they keep products far from overflow.
const (
	maxWidth = 1 << 16
	maxRows  = 1 << 20
)

// Validate reports every size that is out of range or does not divide as it must.
func (c Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	within := func(name string, v, high int) {
		check(v >= 1 && v <= high, "%s %d is not within 1 to %d", name, v, high)
	}
	within("layers", c.Layers, 1024)
	within("heads", c.Heads, 1024)
	within("blocks", c.Blocks, maxRows)
	within("context", c.Context, maxRows)
	within("width", c.Width, maxWidth)
	within("state", c.State, maxWidth)
	within("mlp", c.MLP, maxWidth)
	within("bins", c.Bins, maxRows)
	within("code width", c.CodeWidth, maxWidth)
	within("convolution width", c.ConvWidth, maxWidth)
	within("genres", c.Genres, maxRows)
	within("artists", c.Artists, maxRows)
	check(c.Blocks < 1 || c.Context%c.Blocks == 0, "%d blocks do not divide a context of %d: see --blocks", c.Blocks, c.Context)
	check(c.Heads < 1 || c.State%c.Heads == 0, "%d heads do not divide an attention state of %d: see --heads", c.Heads, c.State)
	return errors.Join(faults...)
}

// manifest describes a bundle with the encoder only.
func (c Config) manifest(name string, random bool) model.Manifest {
	id := fmt.Sprintf("jukebox-%d", c.Width)
	if c.Width == 4800 && c.Layers == 36 {
		id = "jukebox-5b"
	}
	licence := "as the checkpoints that it was made from; OpenAI published Jukebox for non-commercial use"
	if random {
		id, licence = id+"-random", "Apache-2.0"
	}
	if name == "" {
		name = id
	}
	return model.Manifest{
		Format: model.Format, Name: name, Random: random, Licence: licence,
		Encoder: model.Encoder{
			Engine: Engine, File: File, Width: c.Width, ID: id, Precision: "f32",
			FrameRateHz: float64(SampleRate) / Hop / PoolFrames,
			SpanS:       float64(c.Context*Hop) / SampleRate,
			Config:      c.values(),
		},
	}
}

// values is the configuration as it stands in model.yaml.
func (c Config) values() map[string]any {
	values := map[string]any{}
	for key, v := range c.fields() {
		values[key] = *v
	}
	return values
}

func (c *Config) fields() map[string]*int {
	return map[string]*int{
		"layers": &c.Layers, "heads": &c.Heads, "blocks": &c.Blocks, "n_ctx": &c.Context, "width": &c.Width, "state": &c.State,
		"mlp": &c.MLP, "bins": &c.Bins, "emb_width": &c.CodeWidth, "conv_width": &c.ConvWidth, "genres": &c.Genres, "artists": &c.Artists,
	}
}

// Parse reads the configuration of a bundle's encoder and validates it.
func Parse(values map[string]any) (Config, error) {
	var c Config
	fields := c.fields()
	var faults []error
	for key, v := range values {
		field, known := fields[key]
		n, isInt := v.(int)
		if !known || !isInt {
			faults = append(faults, fmt.Errorf("encoder.config.%s: %v is unknown or no integer", key, v))
			continue
		}
		*field = n
	}
	if err := errors.Join(append(faults, c.Validate())...); err != nil {
		return Config{}, fmt.Errorf("reading the encoder's configuration: %w", err)
	}
	return c, nil
}

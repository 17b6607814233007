package jukeboxbundle

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/checkpoint"
	"github.com/larkstream/larkstream/engine/tensor"
)

// ImportConfig says what to import and what the shapes of the weights cannot tell.
type ImportConfig struct {
	// VQVAE and Prior are the checkpoints: vqvae.pth.tar and prior_level_2.pth.tar as published, zip checkpoints, or
	// safetensors with the names of Hugging Face. They may be one file.
	VQVAE, Prior string
	// Layers of the prior to take, Heads and Blocks of its attention. LLark: 36, 8 and 128.
	Layers, Heads, Blocks int
	// Out is the folder of the bundle.
	Out string
	// Name of the bundle; by default the name of the encoder.
	Name string
}

// Import writes a bundle with the encoder only. It reads tensor by tensor: memory does not grow with the checkpoint. Every
// name, shape and value is checked; the first tensor that is missing or wrong is named. An interrupted import is continued
// by the next call.
func Import(ctx context.Context, cfg ImportConfig, progress Progress) (m model.Manifest, err error) {
	vqvae, err := checkpoint.Open(cfg.VQVAE)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, vqvae.Close()) }()
	prior, err := checkpoint.Open(cfg.Prior)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, prior.Close()) }()
	src := &files{vqvae: vqvae, prior: prior}
	c, err := src.config(cfg)
	if err != nil {
		return m, err
	}
	return writeBundle(ctx, cfg.Out, c, c.manifest(cfg.Name, false), src, progress)
}

// files gives the tensors of two checkpoints.
type files struct{ vqvae, prior *checkpoint.File }

func (f *files) of(t Tensor) *checkpoint.File {
	if t.isPrior() {
		return f.prior
	}
	return f.vqvae
}

// config takes the sizes from the shapes of a few tensors and demands that all others follow from them.
func (f *files) config(cfg ImportConfig) (Config, error) {
	const layer = "prior.transformer._attn_mods.0."
	c := Config{Layers: cfg.Layers, Heads: cfg.Heads, Blocks: cfg.Blocks}
	var state3, none int
	for _, probe := range []struct {
		name  string
		sizes []*int
	}{
		{"encoders.2.level_blocks.0.model.0.0.weight", []*int{&c.ConvWidth, &none, &none}},
		{codebook, []*int{&c.Bins, &c.CodeWidth}},
		{"prior.pos_emb.pos_emb", []*int{&c.Context, &c.Width}},
		{"y_emb.bow_genre_emb.emb.weight", []*int{&c.Genres, &none}},
		{"y_emb.artist_emb.emb.weight", []*int{&c.Artists, &none}},
		{layer + "attn.c_attn.w", []*int{&none, &state3}},
		{layer + "mlp.c_fc.w", []*int{&none, &c.MLP}},
	} {
		t := Tensor{Name: probe.name}
		info, ok := f.of(t).Info(t.Name)
		if !ok {
			return c, f.missing(t)
		}
		if len(info.Shape) != len(probe.sizes) {
			return c, fmt.Errorf("checking %s: tensor %q has shape %v, where %d dimensions are expected", f.of(t).Path(), t.Name, info.Shape, len(probe.sizes))
		}
		for i, size := range probe.sizes {
			*size = info.Shape[i]
		}
	}
	c.State = state3 / 3
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("checking %s: %w", f.prior.Path(), err)
	}
	return c, f.check(c)
}

// check compares every tensor with the sizes.
func (f *files) check(c Config) error {
	for _, t := range c.Tensors() {
		info, ok := f.of(t).Info(t.Name)
		if !ok {
			return f.missing(t)
		}
		if !slices.Equal(info.Shape, t.Shape) {
			return fmt.Errorf("checking %s: tensor %q has shape %v, where %v is expected", f.of(t).Path(), t.Name, info.Shape, t.Shape)
		}
		if _, err := model.ToF32(info.DType, nil); err != nil {
			return fmt.Errorf("checking %s: tensor %q: %w", f.of(t).Path(), t.Name, err)
		}
	}
	return nil
}

func (f *files) missing(t Tensor) error {
	return fmt.Errorf("checking %s: it has no tensor %q: it is another checkpoint, or one with fewer layers than --layers", f.of(t).Path(), t.Name)
}

func (f *files) write(ctx context.Context, t Tensor, w io.Writer) error {
	info, _ := f.of(t).Info(t.Name)
	return f.of(t).Read(ctx, t.Name, func(piece []byte) error {
		values, err := model.ToF32(info.DType, piece)
		if err == nil {
			err = t.checkValues(values, info.DType)
		}
		if err != nil {
			return fmt.Errorf("checking %s: tensor %q: %w", f.of(t).Path(), t.Name, err)
		}
		if info.DType != t.dtype() {
			piece = encode(values, t.dtype())
		}
		_, err = w.Write(piece)
		return err
	})
}

// checkValues refuses what is not finite, and values of a matrix that F16 does not hold: the published matrices are F16, and
// files converted from them hold F16 values even where they are stored wider.
func (t Tensor) checkValues(values []float32, stored string) error {
	mayNotFit := t.Matrix && stored != "F16"
	for _, v := range values {
		if v-v != 0 {
			return fmt.Errorf("the value %v is not finite: the file is damaged", v)
		}
		if mayNotFit && tensor.F16ToF32(tensor.F32ToF16(v)) != v {
			return fmt.Errorf("the value %v needs more than the 16 bits in which Jukebox's matrices were published", v)
		}
	}
	return nil
}

// encode gives the values as little-endian elements of F32 or F16.
func encode(values []float32, dtype string) []byte {
	if dtype == "F16" {
		raw := make([]byte, 0, 2*len(values))
		for _, v := range values {
			raw = binary.LittleEndian.AppendUint16(raw, tensor.F32ToF16(v))
		}
		return raw
	}
	raw := make([]byte, 0, 4*len(values))
	for _, v := range values {
		raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
	}
	return raw
}

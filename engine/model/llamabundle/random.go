package llamabundle

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/internal/random"
	"github.com/larkstream/larkstream/engine/model/jukeboxbundle"
)

// RandomConfig says what to make up.
type RandomConfig struct {
	// Preset is 7b or tiny.
	Preset string
	// Seed decides the weights: equal seeds give equal values, whatever the quantisation.
	Seed uint64
	// Quant is the type of the matrices: f32, f16, bf16, q8_0 or q4_k_m, for which Quantize is needed.
	Quant    string
	Quantize Quantize
	// Encoder is the bundle whose encoder is taken; without one, a small random Jukebox.
	Encoder string
	// Out is the folder of the bundle.
	Out string
}

// Preset gives the sizes of a preset: 7b has the sizes of Llama-2-7B with LLark's four tokens, tiny runs everywhere.
func Preset(name string) (Shape, error) {
	presets := map[string]Shape{
		"7b": {
			Layers: 32, Hidden: 4096, Heads: 32, KVHeads: 32, FFN: 11008, Vocab: 32004, Context: 4096, RopeBase: 10000, NormEps: 1e-5,
		},
		"tiny": {
			Layers: 2, Hidden: 64, Heads: 4, KVHeads: 2, FFN: 160, Vocab: 512, Context: 1024, RopeBase: 10000, NormEps: 1e-5,
		},
	}
	s, ok := presets[name]
	if !ok {
		return s, fmt.Errorf("preset %q is unknown: known are %v", name, slices.Sorted(maps.Keys(presets)))
	}
	return s, nil
}

// Random writes a bundle of random weights for benchmarks and tests. Its manifest and name say that it is random. The vocabulary is made
// up too: words of its answers are random letters.
func Random(ctx context.Context, cfg RandomConfig, progress Progress) (model.Manifest, error) {
	s, err := Preset(cfg.Preset)
	if err != nil {
		return model.Manifest{}, err
	}
	return RandomOf(ctx, s, cfg, progress)
}

// RandomOf is Random with sizes of the caller's choice. Its smallest vocabulary has 336 tokens.
func RandomOf(ctx context.Context, s Shape, cfg RandomConfig, progress Progress) (m model.Manifest, err error) {
	if err := checkQuant(cfg.Quant, cfg.Quantize); err != nil {
		return m, err
	}
	words, err := synthetic(s.Vocab)
	if err = errors.Join(err, s.Validate()); err != nil {
		return m, err
	}
	if cfg.Encoder == "" {
		if err := randomEncoder(ctx, cfg); err != nil {
			return m, err
		}
	}
	b, err := begin(ctx, cfg.Out, cfg.Encoder)
	if err != nil {
		return m, err
	}
	b.manifest.Random, b.manifest.Licence = true, "Apache-2.0 (decoder and projector); encoder: "+b.manifest.Licence
	name := fmt.Sprintf("llama-%dx%d-random", s.Layers, s.Hidden)
	d := decoder{name: name, shape: s, vocab: words, from: dice{cfg.Seed}}
	llm := s.manifest()
	if llm.SHA256, err = d.quantised(ctx, cfg.Out, cfg.Quant, cfg.Quantize, progress); err != nil {
		return m, err
	}
	weight, bias, err := dice{cfg.Seed}.projector(ctx, s.Hidden, b.manifest.Encoder.Width)
	if err = errors.Join(err, b.projector(weight, bias, s.Hidden)); err != nil {
		return m, err
	}
	return b.seal(name, llm, llark("<s>", true, s.Context))
}

// randomEncoder puts a small encoder into the folder, unless an interrupted call did.
func randomEncoder(ctx context.Context, cfg RandomConfig) error {
	if _, err := os.Stat(filepath.Join(cfg.Out, model.ManifestFile)); err == nil {
		return nil
	}
	_, err := jukeboxbundle.Random(ctx, jukeboxbundle.RandomConfig{Preset: "tiny", Seed: cfg.Seed, Out: cfg.Out}, func(int64, int64) {})
	return err
}

// dice gives random tensors; each depends on the seed and its Hugging Face name only. The deviations keep activations of order 1 to 10
// through all layers, and logits far enough from one another that greedy answers depend on every position.
type dice struct{ seed uint64 }

func (d dice) read(ctx context.Context, w weight, emit func([]float32) error) error {
	mean, deviation := 1.0, 0.1 // norms
	switch {
	case w.name == "token_embd.weight":
		mean, deviation = 0, 1
	case w.hf == projectorBias:
		mean, deviation = 0, 0.05
	case len(w.shape) > 1:
		mean, deviation = 0, 1/math.Sqrt(float64(w.shape[1]))
	}
	return random.Uniform(ctx, d.seed, w.hf, w.elements(), mean, deviation, emit)
}

func (d dice) projector(ctx context.Context, hidden, width int) (weight, bias []float32, err error) {
	tensors := projectorWeights(hidden, width)
	for i, to := range []*[]float32{&weight, &bias} {
		err = errors.Join(err, d.read(ctx, tensors[i], func(values []float32) error {
			*to = append(*to, values...)
			return nil
		}))
	}
	return weight, bias, err
}

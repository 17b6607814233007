package jukeboxbundle

import (
	"context"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/internal/random"
)

// RandomConfig says what to make up.
type RandomConfig struct {
	// Preset is a name of Presets.
	Preset string
	// Seed decides the weights: equal seeds give equal files.
	Seed uint64
	// Out is the folder of the bundle.
	Out string
}

// preset gives the sizes of a preset: 5b has the sizes of the published prior as LLark uses it (5.2 GB), tiny runs everywhere.
func preset(name string) (Config, error) {
	presets := map[string]Config{
		"5b": {
			Layers: 36, Heads: 8, Blocks: 128, Context: 8192, Width: 4800, State: 1200, MLP: 4800,
			Bins: 2048, CodeWidth: 64, ConvWidth: 32, Genres: 120, Artists: 4111,
		},
		"tiny": {
			Layers: 6, Heads: 2, Blocks: 128, Context: 8192, Width: 64, State: 16, MLP: 64,
			Bins: 2048, CodeWidth: 64, ConvWidth: 32, Genres: 120, Artists: 64,
		},
	}
	c, ok := presets[name]
	if !ok {
		return c, fmt.Errorf("preset %q is unknown: known are %v", name, slices.Sorted(maps.Keys(presets)))
	}
	return c, nil
}

// Random writes a bundle of random weights for benchmarks and demonstrations. Its manifest and name say that it is random.
// The deviations keep the activations of order 1 to 10 through all layers, and attention away from uniform.
func Random(ctx context.Context, cfg RandomConfig, progress Progress) (model.Manifest, error) {
	c, err := preset(cfg.Preset)
	if err != nil {
		return model.Manifest{}, err
	}
	return RandomOf(ctx, c, cfg, progress)
}

// RandomOf is Random with sizes of the caller's choice.
func RandomOf(ctx context.Context, c Config, cfg RandomConfig, progress Progress) (model.Manifest, error) {
	if err := c.Validate(); err != nil {
		return model.Manifest{}, err
	}
	return writeBundle(ctx, cfg.Out, c, c.manifest("", true), dice{cfg.Seed}, progress)
}

// dice gives random tensors; each depends on the seed and its name only.
type dice struct{ seed uint64 }

func (d dice) write(ctx context.Context, t Tensor, w io.Writer) error {
	deviation := t.gain / math.Sqrt(float64(t.inputs()))
	return random.Uniform(ctx, d.seed, t.Name, t.elements(), t.mean, deviation, func(values []float32) error {
		_, err := w.Write(encode(values, t.dtype()))
		return err
	})
}

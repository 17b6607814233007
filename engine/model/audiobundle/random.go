package audiobundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/model/internal/random"
)

// RandomConfig says what to make up.
type RandomConfig struct {
	// Preset is a name of Presets.
	Preset string
	// Family is the family of the preset tiny; empty: qwen2.5-omni.
	Family string
	// Seed decides the weights: equal seeds give equal values, whatever the quantisation.
	Seed uint64
	// Quant is the type of the decoder's matrices, and EncoderQuant that of the encoder's: f32, f16, bf16 or q8_0.
	Quant, EncoderQuant string
	// Layers is how many layers the decoder has; 0: those of the preset. Fewer make a model that costs as much per layer, and fits a small machine.
	Layers int
	// Out is the folder of the bundle.
	Out string
}

// preset is a shape.
type preset struct {
	family  string
	encoder Config
	llm     model.LLM
}

var (
	large   = Config{Layers: 32, Heads: 20, Width: 1280, FFN: 5120, Mels: 128}
	qwen7B  = model.LLM{Layers: 28, Hidden: 3584, Heads: 28, KVHeads: 4, FFN: 18944, RopeBase: 1e6, NormEps: 1e-6, Context: 32768}
	presets = map[string]preset{
		"qwen2.5-omni-7b": {"qwen2.5-omni", large, withVocab(qwen7B, 152064)},
		"music-flamingo":  {"music-flamingo", large, withVocab(qwen7B, 151672)},
		"tiny": {
			"",
			Config{Layers: 2, Heads: 4, Width: 64, FFN: 256, Mels: 128},
			model.LLM{Layers: 2, Hidden: 64, Heads: 4, KVHeads: 2, FFN: 160, Vocab: 512, RopeBase: 1e6, NormEps: 1e-6, Context: 4096},
		},
	}
)

func withVocab(l model.LLM, n int) model.LLM { l.Vocab = n; return l }

// Presets are the names of presets.
func Presets() []string { return slices.Sorted(maps.Keys(presets)) }

// Random writes a bundle of random weights for benchmarks and tests. Its manifest and name say that it is random. The vocabulary is made up too.
func Random(ctx context.Context, cfg RandomConfig, progress Progress) (model.Manifest, error) {
	p, ok := presets[cfg.Preset]
	if !ok {
		return model.Manifest{}, fmt.Errorf("preset %q is unknown: known are %s", cfg.Preset, strings.Join(Presets(), ", "))
	}
	if p.family == "" {
		p.family = cmp.Or(cfg.Family, "qwen2.5-omni")
	} else if cfg.Family != "" && cfg.Family != p.family {
		return model.Manifest{}, fmt.Errorf("preset %s is of the family %s, not %s", cfg.Preset, p.family, cfg.Family)
	}
	if cfg.Layers < 0 || cfg.Layers > p.llm.Layers {
		return model.Manifest{}, fmt.Errorf("the decoder of preset %s has %d layers, not %d", cfg.Preset, p.llm.Layers, cfg.Layers)
	}
	p.llm.Layers = cmp.Or(cfg.Layers, p.llm.Layers)
	quant, known := quants[cmp.Or(cfg.Quant, "bf16")]
	encoderQuant, knownToo := quants[cmp.Or(cfg.EncoderQuant, "bf16")]
	if !known || !knownToo {
		return model.Manifest{}, fmt.Errorf("quantisation %q or %q is unknown: known are %v", cfg.Quant, cfg.EncoderQuant, slices.Sorted(maps.Keys(quants)))
	}
	family, err := familyOf(p.family)
	if err != nil {
		return model.Manifest{}, err
	}
	b := &bundle{dir: cfg.Out, family: family, config: p.encoder}
	b.config.Block = family.Block
	b.config.Positions = b.config.rows()
	name := cfg.Preset + "-random"
	if cfg.Preset == "tiny" {
		name = family.Name + "-tiny-random"
	}
	if err := b.describe(name, family.Name+"-random", p.llm); err != nil {
		return model.Manifest{}, err
	}
	b.generates(generation{sampling: family.Sampling})
	b.manifest.Random, b.manifest.Licence, b.manifest.NonCommercial = true, "Apache-2.0", false
	from := dice{cfg.Seed, map[string][]int{}}
	words, err := synthetic(p.llm.Vocab, family)
	if err != nil {
		return model.Manifest{}, err
	}
	b.encoder = randomEncoder(b.config, from, encoderQuant)
	b.decoderMeta, b.decoder = decoderMeta(name, p.llm, words, quant), randomDecoder(p.llm, from, quant)
	if err := b.randomProjector(ctx, from, p.llm.Hidden); err != nil {
		return model.Manifest{}, err
	}
	return b.write(ctx, nil, progress)
}

func (b *bundle) randomProjector(ctx context.Context, from dice, hidden int) error {
	names, shapes := []string{"projector.1.weight", "projector.1.bias"}, [][]int{{hidden, b.config.Width}, {hidden}}
	if b.family.Projector != "" {
		names, shapes = append(names, "projector.2.weight", "projector.2.bias"), append(shapes, []int{hidden, hidden}, []int{hidden})
	}
	for i, name := range names {
		from.shapes[name] = shapes[i]
	}
	return b.layers(ctx, from, names, shapes)
}

// randomEncoder are the encoder's tensors, matrices as quant where its blocks divide their rows.
func randomEncoder(c Config, from dice, quant gguf.Type) []piece {
	var pieces []piece
	for _, t := range c.Tensors() {
		kind := gguf.F32
		switch {
		case t.Vector:
		case strings.Contains(t.Name, "conv1d") && quant == gguf.Q8_0:
			kind = gguf.F16
		case quant.Fits(t.Shape[len(t.Shape)-1]):
			kind = quant
		}
		from.shapes[t.Name] = t.Shape
		pieces = append(pieces, encoded(from, t.Name, gguf.Tensor{Name: t.Name, Type: kind, Shape: t.Shape}))
	}
	return pieces
}

func randomDecoder(l model.LLM, from dice, quant gguf.Type) []piece {
	for _, w := range decoderWeights(l, false) {
		from.shapes[w.hf] = w.shape
	}
	return decoderPieces(from, func(hf string) string { return hf }, l, false, quant)
}

// RandomEncoder writes the file of an encoder alone.
func RandomEncoder(ctx context.Context, c Config, seed uint64, quant, path string) error {
	kind, ok := quants[quant]
	if err := c.Validate(); err != nil || !ok {
		return errors.Join(err, fmt.Errorf("making an encoder of type %q", quant))
	}
	pieces := randomEncoder(c, dice{seed, map[string][]int{}}, kind)
	_, err := write(ctx, path, encoderMeta(c), pieces, &meter{tell: func(int64, int64) {}})
	return err
}

// dice gives random tensors; each depends on the seed and its name only. The deviations keep activations of order 1 to 10 through all layers.
type dice struct {
	seed   uint64
	shapes map[string][]int
}

// Values implements source.
func (d dice) Values(ctx context.Context, name string, emit func([]float32) error) error {
	n, in := int64(1), 1
	for i, size := range d.shapes[name] {
		n *= int64(size)
		if i > 0 {
			in *= size
		}
	}
	mean, deviation := 0.0, 1/math.Sqrt(float64(in))
	switch {
	case strings.HasSuffix(name, ".bias"):
		deviation = 0.05
	case len(d.shapes[name]) == 1: // norms
		mean, deviation = 1, 0.1
	case strings.Contains(name, "embd") || strings.Contains(name, "embed"):
		deviation = 0.5
	}
	return random.Uniform(ctx, d.seed, name, n, mean, deviation, emit)
}

// synthetic is a vocabulary that is made up: the bytes as byte-level BPE writes them, the special tokens at their published places where there is room,
// and unreachable words.
func synthetic(size int, f Family) (v vocabulary, err error) {
	pieces, special := map[string]int{}, map[int]added{}
	for b := range 256 {
		pieces[byteName(b)] = b
	}
	first := size - 64
	if size > 151_700 || f.Projector != "" && size > 151_671 {
		first = 151_643
	}
	for i, name := range append(f.tokens(), "<|object_ref_start|>") {
		special[first+i] = added{ID: first + i, Content: name, Special: true}
	}
	for id := 256; id < size; id++ {
		if _, taken := special[id]; !taken {
			pieces[fmt.Sprintf("w%06d", id)] = id
		}
	}
	v.merges = []string{"w 0"}
	pieces["w0"] = pieces["w000256"]
	delete(pieces, "w000256")
	return v, v.fill(pieces, special, size)
}

// byteName is how byte-level BPE writes a byte (GPT-2, encoder.py: bytes_to_unicode).
func byteName(b int) string {
	printable := func(c int) bool { return c >= '!' && c <= '~' || c >= 0xa1 && c <= 0xac || c >= 0xae && c <= 0xff }
	if printable(b) {
		return string(rune(b))
	}
	n := 0
	for c := range b {
		if !printable(c) {
			n++
		}
	}
	return string(rune(256 + n))
}

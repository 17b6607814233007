package audiobundle

import (
	"fmt"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/gguf"
)

// generation is how the makers of a model decode.
type generation struct {
	sampling  model.Sampling
	maxTokens int // 0: the family's
}

// generationConfig is generation_config.json. What it leaves out has the defaults of transformers (5.24.0, GenerationConfig).
type generationConfig struct {
	Sample            bool     `json:"do_sample"`
	Temperature       *float32 `json:"temperature"`
	TopK              *int     `json:"top_k"`
	TopP              *float32 `json:"top_p"`
	RepetitionPenalty *float32 `json:"repetition_penalty"`
	MaxTokens         *int     `json:"max_new_tokens"`
}

// generation reads generation_config.json; without one, the family's settings are taken. A penalty holds for greedy decoding too.
func (f *folder) generation(family Family) (generation, error) {
	var c generationConfig
	found, err := readJSON(f.dir, "generation_config.json", &c)
	if err != nil || !found {
		return generation{sampling: family.Sampling}, err
	}
	g := generation{maxTokens: or(c.MaxTokens, 0)}
	g.sampling.RepetitionPenalty = or(c.RepetitionPenalty, 0)
	if c.Sample {
		g.sampling.Temperature, g.sampling.TopK, g.sampling.TopP = or(c.Temperature, 1), or(c.TopK, 50), or(c.TopP, 1)
	}
	if err := g.validate(); err != nil {
		return g, fmt.Errorf("checking generation_config.json of %s: %w", f.dir, err)
	}
	return g, nil
}

func (g generation) validate() error {
	if g.maxTokens < 0 {
		return fmt.Errorf("max_new_tokens %d is below 0", g.maxTokens)
	}
	return g.sampling.Validate()
}

// or is what v points to, or else d.
func or[T any](v *T, d T) T {
	if v == nil {
		return d
	}
	return *v
}

// generation reads the keys that llama.cpp's converter makes of generation_config.json. The family's settings stand in for those that are missing.
func (p pair) generation(family Family) (generation, error) {
	g := generation{sampling: family.Sampling}
	for key, to := range map[string]*float32{
		"temp": &g.sampling.Temperature, "top_p": &g.sampling.TopP, "penalty_repeat": &g.sampling.RepetitionPenalty,
	} {
		if key = "general.sampling." + key; !p.llm.Has(key) {
			continue
		}
		v, err := gguf.Value[float32](p.llm, key)
		if err != nil {
			return g, err
		}
		*to = v
	}
	if key := "general.sampling.top_k"; p.llm.Has(key) {
		v, err := gguf.Value[int32](p.llm, key)
		if err != nil {
			return g, err
		}
		g.sampling.TopK = max(0, int(v)) // llama.cpp takes 0 and less for all tokens
	}
	if err := g.validate(); err != nil {
		return g, fmt.Errorf("checking the settings general.sampling of %s: %w", p.llm.Path(), err)
	}
	return g, nil
}

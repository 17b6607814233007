//go:build synctests

package sim

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/larkstream/larkstream/engine/model"
)

// windowSeconds is the length of a window in the simulation: short, because its samples must be hashed and moved.
const windowSeconds = 0.1

// writeBundle writes a model bundle into a new folder. The test engines need no weights; the projector is real and small. Bundles of
// different names are different models with the same encoder.
func writeBundle(dir, name string) error {
	m := model.Manifest{
		Format: model.Format, Name: name, Version: "0", Random: true, Licence: "Apache-2.0",
		Encoder: model.Encoder{
			Engine: "nano", File: "encoder.safetensors", Width: 4, FrameRateHz: 20, SpanS: windowSeconds, ID: "sim-encoder", Precision: "f32",
		},
		Projector: model.Projector{File: "projector.safetensors", In: 4, Out: 8},
		LLM: model.LLM{ //nolint:gosec // a tokenizer is no credential
			Engine: "reference", File: "llm.safetensors", Layers: 1, Hidden: 8, Heads: 2, KVHeads: 1, FFN: 8, Vocab: 300, RopeBase: 10000,
			NormEps: 1e-5, Context: 160, Tokenizer: "tokenizer.json",
		},
		Prompt: model.Prompt{
			Revision: "1", Prefix: "<s>", Suffix: "</s>", Question: "{question}", Stop: []string{"</s>"}, MaxTokens: 24,
		},
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("making the folder of a model: %w", err)
	}
	zeros := func(name string, shape ...int) model.Tensor {
		n := 1
		for _, d := range shape {
			n *= d
		}
		return model.Tensor{Name: name, DType: "F32", Shape: shape, Data: make([]float32, n)}
	}
	files := map[string][]model.Tensor{
		m.Encoder.File: {zeros("none", 1)}, m.LLM.File: {zeros("none", 1)},
		m.Projector.File: {zeros("model.mm_projector.weight", 8, 4), zeros("model.mm_projector.bias", 8)},
	}
	for file, tensors := range files {
		if err := model.WriteSafetensors(filepath.Join(dir, file), tensors); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(dir, m.LLM.Tokenizer), []byte("{}"), 0o600); err != nil {
		return fmt.Errorf("writing a tokenizer: %w", err)
	}
	return m.Seal(dir)
}

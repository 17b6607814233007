package llamabundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/gguf"
)

// FolderConfig says what RandomFolder makes up.
type FolderConfig struct {
	Shape Shape
	// Seed decides the weights. RandomOf gives a bundle with the same seed, shape and encoder width the same weights.
	Seed uint64
	// DType is F32, F16 or BF16.
	DType string
	// Width is the width of the encoder's frames, which the projector takes in.
	Width int
	// Shards is the number of files that the weights are spread over; with one there is no index.
	Shards int
}

// RandomFolder writes a folder as Hugging Face's transformers would save a model of LLark's kind with random weights: config.json, safetensors
// shards that hold the projector too, tokenizer.model and added_tokens.json. Tests import it.
func RandomFolder(ctx context.Context, cfg FolderConfig, dir string) error {
	words, err := synthetic(cfg.Shape.Vocab)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // a model is no secret
		return fmt.Errorf("making the folder: %w", err)
	}
	first := cfg.Shape.Vocab - 4
	extra := map[string]int{}
	for id := first; id < cfg.Shape.Vocab; id++ {
		extra[words.tokens[id]] = id
	}
	return errors.Join(
		cfg.writeConfig(dir), cfg.writeShards(ctx, dir), writeJSON(dir, "added_tokens.json", extra),
		os.WriteFile(filepath.Join(dir, "tokenizer.model"), words.sentencePiece(first), 0o644)) //nolint:gosec // a model is no secret
}

func writeJSON(dir, name string, v any) error {
	raw, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, name), raw, 0o644) //nolint:gosec // a model is no secret
}

func (cfg FolderConfig) writeConfig(dir string) error {
	s := cfg.Shape
	return writeJSON(dir, "config.json", map[string]any{
		"architectures": []string{"LlamaForCausalLM"}, "model_type": "llama", "hidden_act": "silu", "hidden_size": s.Hidden, "intermediate_size": s.FFN,
		"num_hidden_layers": s.Layers, "num_attention_heads": s.Heads, "num_key_value_heads": s.KVHeads, "max_position_embeddings": s.Context,
		"rms_norm_eps": s.NormEps, "rope_theta": s.RopeBase, "rope_scaling": nil, "tie_word_embeddings": s.Tied, "vocab_size": s.Vocab,
	})
}

// writeShards spreads the tensors in turn over the files.
func (cfg FolderConfig) writeShards(ctx context.Context, dir string) error {
	all := append(cfg.Shape.weights(), projectorWeights(cfg.Shape.Hidden, cfg.Width)...)
	index := map[string]string{}
	for shard := range cfg.Shards {
		name := "model.safetensors"
		if cfg.Shards > 1 {
			name = fmt.Sprintf("model-%05d-of-%05d.safetensors", shard+1, cfg.Shards)
		}
		var some []weight
		for i := shard; i < len(all); i += cfg.Shards {
			some = append(some, all[i])
			index[all[i].hf] = name
		}
		if err := cfg.writeShard(ctx, filepath.Join(dir, name), some); err != nil {
			return err
		}
	}
	if cfg.Shards == 1 {
		return nil
	}
	return writeJSON(dir, "model.safetensors.index.json", map[string]any{"weight_map": index})
}

func (cfg FolderConfig) writeShard(ctx context.Context, path string, some []weight) error {
	slots := make([]model.Slot, len(some))
	for i, w := range some {
		slots[i] = model.Slot{Name: w.hf, DType: cfg.DType, Shape: w.shape}
	}
	next := 0
	_, err := model.WriteResumable(ctx, path, func(out io.Writer) error {
		return model.StreamSafetensors(out, slots, map[string]string{"format": "pt"}, func(_ model.Slot, out io.Writer) error {
			w := some[next]
			next++
			return dice{cfg.Seed}.read(ctx, w, func(values []float32) error {
				raw, err := gguf.Encode(nil, map[string]gguf.Type{"F32": gguf.F32, "F16": gguf.F16, "BF16": gguf.BF16}[cfg.DType], values)
				if err != nil {
					return err
				}
				_, err = out.Write(raw)
				return err
			})
		})
	})
	return err
}

// sentencePiece writes the first n tokens as tokenizer.model.
func (v *vocab) sentencePiece(n int) []byte {
	number := func(raw []byte, field protowire.Number, value uint64) []byte {
		return protowire.AppendVarint(protowire.AppendTag(raw, field, protowire.VarintType), value)
	}
	message := func(raw []byte, field protowire.Number, data []byte) []byte {
		return protowire.AppendBytes(protowire.AppendTag(raw, field, protowire.BytesType), data)
	}
	var raw []byte
	for id := range n {
		piece := message(nil, pieceText, []byte(v.tokens[id]))
		piece = protowire.AppendFixed32(protowire.AppendTag(piece, pieceScore, protowire.Fixed32Type), math.Float32bits(v.scores[id]))
		raw = message(raw, modelPieces, number(piece, pieceKind, uint64(v.kinds[id])))
	}
	trainer := number(number(nil, trainerModelType, typeBPE), trainerUnk, uint64(v.unk))
	raw = message(raw, modelTrainer, number(number(trainer, trainerBos, uint64(v.bos)), trainerEos, uint64(v.eos)))
	return message(raw, modelNormalizer, number(number(nil, normalizerPrefix, 1), normalizerDropSpace, 0))
}

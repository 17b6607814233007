package llamabundle

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/checkpoint"
)

// ImportConfig says what to import.
type ImportConfig struct {
	// Folder holds a Llama-2-style model in Hugging Face's form: config.json, weights as safetensors or PyTorch shards, and tokenizer.model or
	// tokenizer.json. Exactly one of Folder and GGUF is given.
	Folder string
	// GGUF is a file that llama.cpp reads; it is taken as it is.
	GGUF string
	// Projector holds model.mm_projector.weight [hidden, width] and .bias, as safetensors or a PyTorch checkpoint. It may be empty if the
	// folder's weights hold them.
	Projector string
	// Encoder is the bundle whose encoder is taken; without one, Out holds an encoder.
	Encoder string
	// Quant is the type of the matrices: f32, f16, bf16, q8_0 or q4_k_m, for which Quantize is needed. With GGUF it must be empty.
	Quant    string
	Quantize Quantize
	// Out is the folder of the bundle.
	Out string
	// Name of the bundle; by default the name of the folder or file.
	Name string
}

const licence = "decoder and projector: as the weights that they were made of; Meta's community licence covers models made of Llama 2"

// Import writes a bundle with LLark's prompt. It reads the weights in pieces: memory does not grow with the model. Every name, shape and
// value is checked; the first tensor that is missing or wrong is named. An interrupted import is continued by the next call.
func Import(ctx context.Context, cfg ImportConfig, progress Progress) (model.Manifest, error) {
	switch {
	case (cfg.Folder == "") == (cfg.GGUF == ""):
		return model.Manifest{}, errors.New("either a Hugging Face folder or a GGUF file is needed")
	case cfg.GGUF != "" && cfg.Quant != "":
		return model.Manifest{}, errors.New("a GGUF file is taken as it is: quantise it with llama.cpp's llama-quantize")
	case cfg.GGUF != "":
		return importGGUF(ctx, cfg)
	}
	return importFolder(ctx, cfg, progress)
}

func importFolder(ctx context.Context, cfg ImportConfig, progress Progress) (m model.Manifest, err error) {
	if err := checkQuant(cfg.Quant, cfg.Quantize); err != nil {
		return m, err
	}
	f, err := openFolder(cfg.Folder)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	audio, err := f.audio()
	if err != nil {
		return m, err
	}
	b, err := beginWith(ctx, cfg, f.tensors, f.shape.Hidden)
	if err != nil {
		return m, err
	}
	name := bundleName(cfg.Name, cfg.Folder)
	d := decoder{name: name, shape: f.shape, vocab: f.vocab, from: f.tensors}
	llm := f.shape.manifest()
	if llm.SHA256, err = d.quantised(ctx, cfg.Out, cfg.Quant, cfg.Quantize, progress); err != nil {
		return m, err
	}
	b.manifest.Licence = licence + "; encoder: " + b.manifest.Licence
	return b.seal(name, llm, llark(f.vocab.begin(), audio, f.shape.Context))
}

// beginWith begins a bundle with an encoder and the projector to a decoder of the given width, which lies in a file of its own or in f.
func beginWith(ctx context.Context, cfg ImportConfig, f files, hidden int) (b *bundle, err error) {
	if cfg.Projector != "" {
		c, err := checkpoint.Open(cfg.Projector)
		if err != nil {
			return nil, fmt.Errorf("opening the projector: %w", err)
		}
		defer func() { err = errors.Join(err, c.Close()) }()
		f = projectorOf(c)
	}
	if b, err = begin(ctx, cfg.Out, cfg.Encoder); err != nil {
		return nil, err
	}
	return b, b.takeProjector(ctx, f, hidden)
}

// audio tells whether the prompt has tokens around the frames, and refuses a folder from which they seem to be lost.
func (f *folder) audio() (bool, error) {
	if f.vocab.audio() {
		return f.config.AudioTokens == nil || *f.config.AudioTokens, nil
	}
	wanted := f.config.AudioTokens != nil && *f.config.AudioTokens
	if wanted || slices.Contains(f.vocab.kinds, unused) {
		return false, fmt.Errorf(`%s has no tokens %s and %s, but the model has rows for more than its tokenizer: add an added_tokens.json with their ids, `+
			`such as {"[PAD]": 32000, "<audio_patch>": 32001, "<audio_start>": 32002, "<audio_end>": 32003}`, f.dir, AudioStart, AudioEnd)
	}
	return false, nil
}

// begin names the token at the beginning of a text.
func (v *vocab) begin() string {
	if v.bos < 0 {
		return ""
	}
	return v.tokens[v.bos]
}

// projectorOf gives the tensors of a file with the projector alone, whatever stands before their names.
func projectorOf(c *checkpoint.File) files {
	f := files{}
	for _, t := range c.Tensors() {
		for _, end := range []string{"weight", "bias"} {
			if t.Name == end || strings.HasSuffix(t.Name, "mm_projector."+end) {
				f["model.mm_projector."+end] = place{c, t.Name}
			}
		}
	}
	return f
}

// bundleName makes a name of a path, unless one is given.
func bundleName(name, path string) string {
	if name != "" {
		return name
	}
	base := strings.ToLower(strings.TrimSuffix(filepath.Base(filepath.Clean(path)), ".gguf"))
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789._-", r) {
			return r
		}
		return '-'
	}, base)
}

package llamabundle

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/checkpoint"
)

// ExportConfig says what to export.
type ExportConfig struct {
	// Model is a complete bundle with a decoder in safetensors, such as lark-nano.
	Model string
	// Quant is the type of the matrices: f32, f16, bf16, q8_0 or q4_k_m, for which Quantize is needed.
	Quant    string
	Quantize Quantize
	// Out is the folder of the new bundle.
	Out string
}

// Export writes a bundle whose decoder is the same, as GGUF. Encoder, projector, tokenizer, notes and prompt stay as they are in the first bundle. The
// GGUF holds the tokenizer's pieces too, but llama.cpp would cut a text into others: the bundle's tokenizer decides.
func Export(ctx context.Context, cfg ExportConfig, progress Progress) (m model.Manifest, err error) {
	if err := checkQuant(cfg.Quant, cfg.Quantize); err != nil {
		return m, err
	}
	from, err := model.LoadCompleteContext(ctx, cfg.Model)
	if err != nil {
		return m, err
	}
	l := from.LLM
	s := Shape{l.Layers, l.Hidden, l.Heads, l.KVHeads, l.FFN, l.Vocab, l.Context, l.RopeBase, l.NormEps, false}
	words, err := greedyVocab(from.TokenizerPath(), s.Vocab)
	if err != nil {
		return m, err
	}
	c, err := checkpoint.Open(from.LLMPath())
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, c.Close()) }()
	tensors := files{}
	if err := errors.Join(tensors.add(c), tensors.checkAll(s)); err != nil {
		return m, err
	}
	b, err := begin(ctx, cfg.Out, cfg.Model)
	if err != nil {
		return m, err
	}
	name := from.Name + "-gguf"
	d := decoder{name: name, shape: s, vocab: words, from: tensors}
	llm := s.manifest()
	if llm.SHA256, err = d.quantised(ctx, cfg.Out, cfg.Quant, cfg.Quantize, progress); err != nil {
		return m, err
	}
	llm.Tokenizer, llm.TokenizerSHA256 = filepath.Base(l.Tokenizer), l.TokenizerSHA256
	b.manifest.Projector, b.manifest.Version = from.Projector, from.Version
	b.manifest.Projector.File = ProjectorFile
	if err := errors.Join(copyFile(from.TokenizerPath(), filepath.Join(cfg.Out, llm.Tokenizer)), copyFile(from.ProjectorPath(), filepath.Join(cfg.Out, ProjectorFile))); err != nil {
		return m, err
	}
	if l.Notes != "" {
		llm.Notes, llm.NotesSHA256 = filepath.Base(l.Notes), l.NotesSHA256
		if err := copyFile(from.NotesPath(), filepath.Join(cfg.Out, llm.Notes)); err != nil {
			return m, err
		}
	}
	return b.seal(name, llm, from.Prompt)
}

// copyFile copies a small file.
func copyFile(from, to string) error {
	raw, err := os.ReadFile(from)
	if err == nil {
		err = os.WriteFile(to, raw, 0o644) //nolint:gosec // a model is no secret
	}
	if err != nil {
		return fmt.Errorf("copying a part of the bundle: %w", err)
	}
	return nil
}

// greedyVocab reads tokenizer.json of type greedy (docs/lark-nano.md, section 7).
func greedyVocab(path string, size int) (*vocab, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the tokenizer: %w", err)
	}
	var file struct {
		Type    string         `json:"type"`
		Special map[string]int `json:"special"`
		Vocab   []string       `json:"vocab"`
	}
	if err := json.Unmarshal(raw, &file); err != nil {
		return nil, fmt.Errorf("parsing %s: %w", path, err)
	}
	if file.Type != "greedy" || len(file.Vocab) != size {
		return nil, fmt.Errorf("checking %s: type %q and %d pieces, where greedy and %d are expected", path, file.Type, len(file.Vocab), size)
	}
	v, bytes := newVocab(), map[string]bool{}
	for b := range 256 {
		bytes[byteName(byte(b))] = true
	}
	for id, text := range file.Vocab {
		kind := int32(normal)
		if special, ok := file.Special[text]; ok && special == id {
			kind = control
		} else if bytes[text] {
			kind = byteToken
		}
		if err := v.add(text, -float32(id), kind); err != nil {
			return nil, fmt.Errorf("checking %s: %w", path, err)
		}
	}
	for name, id := range map[string]*int{"<s>": &v.bos, "</s>": &v.eos, "<pad>": &v.pad} {
		if at, ok := v.ids[name]; ok {
			*id = at
		}
	}
	return v, nil
}

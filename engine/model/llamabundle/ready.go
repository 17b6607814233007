package llamabundle

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/gguf"
)

// importGGUF takes a GGUF file as it is.
func importGGUF(ctx context.Context, cfg ImportConfig) (m model.Manifest, err error) {
	f, err := gguf.Open(cfg.GGUF)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	llm, err := Describe(f)
	if err != nil {
		return m, err
	}
	words, err := vocabOf(f, llm.Vocab)
	if err != nil {
		return m, fmt.Errorf("checking %s: %w", cfg.GGUF, err)
	}
	b, err := beginWith(ctx, cfg, nil, llm.Hidden)
	if err != nil {
		return m, err
	}
	path := filepath.Join(b.dir, File)
	if llm.SHA256, err = LinkOrCopy(ctx, cfg.GGUF, path); err != nil {
		return m, fmt.Errorf("taking the decoder: %w", err)
	}
	if llm.SHA256 == "" {
		if llm.SHA256, err = model.FileDigest(path); err != nil {
			return m, err
		}
	}
	b.manifest.Licence = licence + "; encoder: " + b.manifest.Licence
	return b.seal(bundleName(cfg.Name, cfg.GGUF), llm, llark(words.begin(), words.audio(), llm.Context))
}

// Describe takes the sizes of a decoder from the metadata and from its table of embeddings.
func Describe(f *gguf.File) (model.LLM, error) {
	l := model.LLM{Engine: model.LlamaCPP, File: File}
	arch, err := gguf.Value[string](f, "general.architecture")
	if err != nil {
		return l, err
	}
	if n, err := f.Int("split.count"); f.Has("split.count") && (err != nil || n > 1) {
		return l, fmt.Errorf("checking %s: it is one of several parts: join them with llama.cpp's llama-gguf-split --merge", f.Path())
	}
	var faults []error
	for key, to := range map[string]*int{
		"block_count": &l.Layers, "embedding_length": &l.Hidden, "attention.head_count": &l.Heads, "feed_forward_length": &l.FFN, "context_length": &l.Context,
	} {
		var err error
		*to, err = f.Int(arch + "." + key)
		faults = append(faults, err)
	}
	l.KVHeads = l.Heads
	if key := arch + ".attention.head_count_kv"; f.Has(key) {
		l.KVHeads, err = f.Int(key)
		faults = append(faults, err)
	}
	l.RopeBase = cmp.Or(number(f, arch+".rope.freq_base"), 10000)
	l.NormEps = cmp.Or(number(f, arch+".attention.layer_norm_rms_epsilon"), number(f, arch+".attention.layer_norm_epsilon"))
	const table = "token_embd.weight"
	t, ok := f.Tensor(table)
	if !ok || len(t.Shape) != 2 || t.Shape[1] != l.Hidden {
		faults = append(faults, fmt.Errorf("checking %s: tensor %s has shape %v, where [vocabulary, %d] is expected: it is no language model, or a vocabulary alone",
			f.Path(), table, t.Shape, l.Hidden))
		return l, errors.Join(faults...)
	}
	l.Vocab = t.Shape[0]
	return l, errors.Join(faults...)
}

// number is a float of the metadata with the digits that it was written with, or 0.
func number(f *gguf.File, key string) float64 {
	v, err := gguf.Value[float32](f, key)
	if err != nil {
		return 0
	}
	exact, err := strconv.ParseFloat(strconv.FormatFloat(float64(v), 'g', -1, 32), 64)
	if err != nil || math.IsInf(exact, 0) {
		return 0
	}
	return exact
}

// vocabOf reads the vocabulary of a GGUF file, and refuses one over which llama.cpp would end the process or LLark's prompt would be cut wrongly.
func vocabOf(f *gguf.File, rows int) (*vocab, error) {
	tokens, err := gguf.Value[[]string](f, "tokenizer.ggml.tokens")
	if err != nil {
		return nil, fmt.Errorf("it has no tokenizer: %w", err)
	}
	if len(tokens) != rows {
		return nil, fmt.Errorf("its tokenizer has %d tokens, but its table of embeddings %d rows: they do not belong together", len(tokens), rows)
	}
	kinds, err := gguf.Value[[]int32](f, "tokenizer.ggml.token_type")
	if err != nil || len(kinds) != len(tokens) {
		kinds = make([]int32, len(tokens))
	}
	v := newVocab()
	for id, text := range tokens {
		if err := v.add(cmp.Or(text, fmt.Sprintf("[EMPTY_%d]", id)), 0, kinds[id]); err != nil { // the name that llama.cpp gives
			return nil, err
		}
	}
	for _, name := range []string{AudioStart, AudioEnd} {
		if id, ok := v.ids[name]; ok && v.kinds[id] != control && v.kinds[id] != userDefined {
			return nil, fmt.Errorf("its token %s is of type %d, where control (%d) is expected: llama.cpp would not find it in a prompt", name, v.kinds[id], control)
		}
	}
	if f.Has("tokenizer.ggml.bos_token_id") {
		if v.bos, err = f.Int("tokenizer.ggml.bos_token_id"); err == nil && v.bos >= rows {
			err = fmt.Errorf("its first token is %d, but it has %d", v.bos, rows)
		}
	}
	return v, err
}

package audiobundle

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/model/llamabundle"
)

// ImportConfig says what to import.
type ImportConfig struct {
	// LLM and MMProj are the pair of GGUF files of llama.cpp: the decoder, and the encoder with its projector.
	LLM, MMProj string
	// Folder is a Hugging Face folder. Either it or the pair is given.
	Folder string
	// Family names the family where the files do not tell it apart; empty: as the files say.
	Family string
	// Quant is the type of the decoder's matrices, for a folder: f32, f16, bf16, q8_0 or q4_k_m, for which Quantize is needed.
	Quant    string
	Quantize llamabundle.Quantize
	// AcceptLicence says that the user may use weights of a non-commercial licence.
	AcceptLicence bool
	// Out is the folder of the bundle, Name its name; by default that of the file or folder.
	Out, Name string
}

// Import writes a bundle. It reads the weights in pieces: memory does not grow with the model. Every name, shape and value is checked, and the first
// that is wrong is named. An interrupted import is continued by the next call.
func Import(ctx context.Context, cfg ImportConfig, progress Progress) (model.Manifest, error) {
	pair := cfg.LLM != "" || cfg.MMProj != ""
	switch {
	case pair == (cfg.Folder != ""):
		return model.Manifest{}, errors.New("either a pair of GGUF files or a Hugging Face folder is needed")
	case pair && (cfg.LLM == "" || cfg.MMProj == ""):
		return model.Manifest{}, errors.New("a pair of GGUF files is needed: the decoder with --llm, and the encoder with its projector with --mmproj")
	case pair:
		return importPair(ctx, cfg, progress)
	}
	return importFolder(ctx, cfg, progress)
}

// pair is the two open files.
type pair struct {
	llm, mmproj *gguf.File
	arch        string
}

func openPair(cfg ImportConfig) (p pair, err error) {
	if p.llm, err = gguf.Open(cfg.LLM); err != nil {
		return p, err
	}
	if p.mmproj, err = gguf.Open(cfg.MMProj); err != nil {
		return p, errors.Join(err, p.llm.Close())
	}
	for _, f := range []*gguf.File{p.llm, p.mmproj} {
		if parts, err := f.Int("split.count"); err == nil && parts > 1 {
			return p, errors.Join(fmt.Errorf("checking %s: it is one of %d parts of a model: join them with llama.cpp's llama-gguf-split --merge", f.Path(), parts), p.close())
		}
	}
	return p, nil
}

func (p pair) close() error { return errors.Join(p.llm.Close(), p.mmproj.Close()) }

func importPair(ctx context.Context, cfg ImportConfig, progress Progress) (m model.Manifest, err error) {
	p, err := openPair(cfg)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, p.close()) }()
	b := &bundle{dir: cfg.Out}
	if b.family, err = p.family(cfg.Family); err != nil {
		return m, err
	}
	if b.config, err = p.config(b.family); err != nil {
		return m, err
	}
	llm, err := p.decoder(b.family)
	if err != nil {
		return m, err
	}
	if err := b.describe(bundleName(cfg.Name, cfg.LLM), b.family.Name, llm); err != nil {
		return m, err
	}
	if err := b.licensed(cfg.AcceptLicence); err != nil {
		return m, err
	}
	if b.encoder, err = p.encoder(b.config); err != nil {
		return m, err
	}
	if err := p.projector(ctx, b, llm.Hidden); err != nil {
		return m, err
	}
	g, err := p.generation(b.family)
	if err != nil {
		return m, err
	}
	b.generates(g)
	b.decoderPath = cfg.LLM
	if p.arch == "qwen2vl" {
		b.decoderPath, b.decoderMeta, b.decoder = "", relabelled(p.llm), copies(p.llm)
	}
	return b.write(ctx, llamabundle.LinkOrCopy, progress)
}

// family tells the family by the type of the projector. Music Flamingo and Audio Flamingo 3 have the same; what tells them apart is the token that
// begins the audio.
func (p pair) family(named string) (Family, error) {
	if arch, _ := gguf.Value[string](p.mmproj, "general.architecture"); arch != "clip" {
		return Family{}, fmt.Errorf("checking %s: its architecture is %q, where clip is expected: it is no mmproj file; is it the decoder?", p.mmproj.Path(), arch)
	}
	if audio, err := gguf.Value[bool](p.mmproj, "clip.has_audio_encoder"); err != nil || !audio {
		return Family{}, fmt.Errorf("checking %s: it has no audio encoder (clip.has_audio_encoder): it is for images only, fetch the mmproj file of a model that hears", p.mmproj.Path())
	}
	kind, err := gguf.Value[string](p.mmproj, "clip.projector_type")
	if p.mmproj.Has("clip.audio.projector_type") {
		kind, err = gguf.Value[string](p.mmproj, "clip.audio.projector_type")
	}
	if err != nil {
		return Family{}, err
	}
	names := map[string][]string{
		"qwen2.5o": {"qwen2.5-omni"}, "qwen2a": {"qwen2-audio", "qwen2.5-omni"}, "musicflamingo": {"audio-flamingo-3", "music-flamingo"},
	}[kind]
	if names == nil {
		return Family{}, fmt.Errorf("checking %s: its projector is of type %q: known are qwen2.5o, qwen2a and musicflamingo", p.mmproj.Path(), kind)
	}
	name := names[0]
	tokens, _ := gguf.Value[[]string](p.llm, "tokenizer.ggml.tokens")
	switch {
	case named != "" && !slices.Contains(names, named):
		return Family{}, fmt.Errorf("checking %s: its projector of type %q is that of %s, not of %s", p.mmproj.Path(), kind, strings.Join(names, " or "), named)
	case named != "":
		name = named
	case kind == "qwen2a" && p.llmArch() == "qwen2vl":
		name = "qwen2.5-omni"
	case kind == "musicflamingo" && slices.Contains(tokens, "<|sound_bos|>"):
		name = "music-flamingo"
	}
	return familyOf(name)
}

func (p pair) llmArch() string {
	arch, _ := gguf.Value[string](p.llm, "general.architecture")
	return arch
}

// config takes the sizes of the encoder from the metadata.
func (p pair) config(f Family) (Config, error) {
	c := Config{Block: f.Block}
	var faults []error
	for key, to := range map[string]*int{
		"embedding_length": &c.Width, "feed_forward_length": &c.FFN, "block_count": &c.Layers, "attention.head_count": &c.Heads, "num_mel_bins": &c.Mels,
	} {
		var err error
		*to, err = p.mmproj.Int("clip.audio." + key)
		faults = append(faults, err)
	}
	if eps, err := gguf.Value[float32](p.mmproj, "clip.audio.attention.layer_norm_epsilon"); err != nil || eps < 0.9*NormEpsilon || eps > 1.1*NormEpsilon {
		faults = append(faults, fmt.Errorf("clip.audio.attention.layer_norm_epsilon is %v, where %v is expected", eps, NormEpsilon))
	}
	if err := errors.Join(faults...); err != nil {
		return c, fmt.Errorf("checking %s: %w", p.mmproj.Path(), err)
	}
	c.Positions = c.rows()
	if t, ok := p.mmproj.Tensor("a.position_embd.weight"); ok && c.Block == 0 && len(t.Shape) == 2 {
		c.Positions = t.Shape[0]
	}
	if err := c.Validate(); err != nil {
		return c, fmt.Errorf("checking %s: %w", p.mmproj.Path(), err)
	}
	return c, nil
}

// decoder checks that the decoder is one that the family's projector was trained for.
func (p *pair) decoder(f Family) (model.LLM, error) {
	llm, err := llamabundle.Describe(p.llm)
	if err != nil {
		return llm, err
	}
	if p.arch, err = gguf.Value[string](p.llm, "general.architecture"); err != nil {
		return llm, err
	}
	if p.arch != "qwen2" && p.arch != "qwen2vl" {
		return llm, fmt.Errorf("checking %s: its architecture is %q, where qwen2 or qwen2vl is expected: %s models have a decoder of Qwen2's kind", p.llm.Path(), p.arch, f.Name)
	}
	tokens, err := gguf.Value[[]string](p.llm, "tokenizer.ggml.tokens")
	if err != nil {
		return llm, err
	}
	if len(tokens) != llm.Vocab {
		return llm, fmt.Errorf("checking %s: its tokenizer has %d tokens, but its table of embeddings %d rows: they do not belong together", p.llm.Path(), len(tokens), llm.Vocab)
	}
	if pre, _ := gguf.Value[string](p.llm, "tokenizer.ggml.pre"); pre != "qwen2" {
		return llm, fmt.Errorf("checking %s: tokenizer.ggml.pre is %q, where qwen2 is expected: questions would be cut into other tokens than the model was trained on", p.llm.Path(), pre)
	}
	for _, token := range f.tokens() {
		if !slices.Contains(tokens, token) {
			return llm, fmt.Errorf("checking %s: its tokenizer has no token %s, which the prompt of %s models needs: it is another model's decoder than that of %s", p.llm.Path(), token, f.Name, p.mmproj.Path())
		}
	}
	return llm, p.checkDecoder(llm)
}

// checkDecoder demands the tensors of a decoder of Qwen2's kind in their shapes, whatever their quantisation.
func (p pair) checkDecoder(llm model.LLM) error {
	for _, w := range decoderWeights(llm, false) {
		t, ok := p.llm.Tensor(w.name)
		if !ok && w.name == outputWeight {
			continue // tied to the table of embeddings
		}
		if !ok {
			return fmt.Errorf("checking %s: it has no tensor %q: it is damaged or of another kind", p.llm.Path(), w.name)
		}
		if !slices.Equal(t.Shape, w.shape) {
			return fmt.Errorf("checking %s: tensor %q has shape %v, where %v is expected", p.llm.Path(), w.name, t.Shape, w.shape)
		}
	}
	return nil
}

// encoder are the encoder's tensors as they lie in the file.
func (p pair) encoder(c Config) ([]piece, error) {
	known := map[string]bool{"a.position_embd.weight": true}
	var pieces []piece
	for _, want := range c.Tensors() {
		known[want.Name] = true
		t, ok := p.mmproj.Tensor(want.Name)
		if !ok {
			return nil, fmt.Errorf("checking %s: it has no tensor %q", p.mmproj.Path(), want.Name)
		}
		if !slices.Equal(t.Shape, want.Shape) {
			return nil, fmt.Errorf("checking %s: tensor %q has shape %v, where %v is expected", p.mmproj.Path(), want.Name, t.Shape, want.Shape)
		}
		if _, err := gguf.Decode(nil, t.Type, nil); err != nil {
			return nil, fmt.Errorf("checking %s: tensor %q is of %s: take the mmproj file in F16, BF16, F32 or Q8_0", p.mmproj.Path(), want.Name, t.Type)
		}
		pieces = append(pieces, copyOf(p.mmproj, t, true))
	}
	for _, t := range p.mmproj.Tensors() {
		if strings.HasPrefix(t.Name, "a.") && !known[t.Name] {
			return nil, fmt.Errorf("checking %s: its tensor %q is unknown to an encoder of Whisper's kind", p.mmproj.Path(), t.Name)
		}
	}
	return pieces, nil
}

// projector reads the projector, which must lead from the encoder to the decoder.
func (p pair) projector(ctx context.Context, b *bundle, hidden int) error {
	names := []string{"mm.a.fc.weight", "mm.a.fc.bias"}
	shapes := [][]int{{hidden, b.config.Width}, {hidden}}
	if b.family.Projector != "" {
		names = []string{"mm.a.mlp.1.weight", "mm.a.mlp.1.bias", "mm.a.mlp.2.weight", "mm.a.mlp.2.bias"}
		shapes = append(shapes, []int{hidden, hidden}, []int{hidden})
	}
	for i, name := range names {
		t, ok := p.mmproj.Tensor(name)
		if !ok {
			return fmt.Errorf("checking %s: it has no tensor %q", p.mmproj.Path(), name)
		}
		if !slices.Equal(t.Shape, shapes[i]) {
			return fmt.Errorf("checking %s: tensor %q has shape %v, where %v is expected: the projector leads to another decoder than that of width %d in %s",
				p.mmproj.Path(), name, t.Shape, shapes[i], hidden, p.llm.Path())
		}
	}
	return b.layers(ctx, values{p.mmproj}, names, shapes)
}

// values gives the values of a GGUF file's tensors.
type values struct{ *gguf.File }

// Values implements source.
func (v values) Values(ctx context.Context, name string, emit func([]float32) error) error {
	t, _ := v.Tensor(name)
	var decoded []float32
	return v.Read(ctx, name, func(raw []byte) (err error) {
		if decoded, err = gguf.Decode(decoded[:0], t.Type, raw); err != nil {
			return err
		}
		if err := finite(decoded); err != nil {
			return err
		}
		return emit(decoded)
	})
}

func finite(values []float32) error {
	for _, v := range values {
		if v-v != 0 {
			return fmt.Errorf("the value %v is not finite: the file is damaged, fetch it again", v)
		}
	}
	return nil
}

// copyOf is a tensor as it lies in a file. Its values are looked at if checked is set.
func copyOf(from *gguf.File, t gguf.Tensor, checked bool) piece {
	return piece{t, func(ctx context.Context, put func([]byte) error) error {
		var decoded []float32
		return from.Read(ctx, t.Name, func(raw []byte) (err error) {
			if !checked {
				return put(raw)
			}
			if decoded, err = gguf.Decode(decoded[:0], t.Type, raw); err == nil {
				err = finite(decoded)
			}
			if err != nil {
				return err
			}
			return put(raw)
		})
	}}
}

func copies(from *gguf.File) []piece {
	var pieces []piece
	for _, t := range from.Tensors() {
		pieces = append(pieces, copyOf(from, t, false))
	}
	return pieces
}

// relabelled are the metadata of a decoder of Qwen2-VL's architecture under the name of Qwen2. With audio and text the three positions of its rotary
// embedding are equal, so that one does (docs/adr/0057-omni-decoders-are-relabelled.md).
func relabelled(f *gguf.File) []gguf.KV {
	var meta []gguf.KV
	for _, kv := range f.Meta() {
		switch {
		case kv.Key == "general.architecture":
			kv.Value = "qwen2"
		case kv.Key == "general.alignment" || kv.Key == "qwen2vl.rope.dimension_sections":
			continue
		}
		if rest, ok := strings.CutPrefix(kv.Key, "qwen2vl."); ok {
			kv.Key = "qwen2." + rest
		}
		meta = append(meta, kv)
	}
	return meta
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

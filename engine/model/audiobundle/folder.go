package audiobundle

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/model/llamabundle"
)

// layout is how a family's Hugging Face folder names its parts.
type layout struct {
	family string
	// encoder stands before the encoder's tensors, decoder before those of the decoder; skipped are the beginnings of what is not taken.
	encoder, decoder string
	projector        []string // of its layers
	skipped          []string
	nested           bool // the configuration lies in thinker_config
	chunkS           int  // chunk_length of the feature extractor
}

var layouts = map[string]layout{
	"qwen2_5_omni": {
		family: "qwen2.5-omni", encoder: "thinker.audio_tower.", decoder: "thinker.", projector: []string{"thinker.audio_tower.proj"},
		skipped: []string{"thinker.visual.", "talker.", "token2wav.", "thinker.audio_tower.audio_bos_eos_token."}, nested: true, chunkS: 300,
	},
	"qwen2_audio":    {family: "qwen2-audio", encoder: "audio_tower.", decoder: "language_model.", projector: []string{"multi_modal_projector.linear"}, chunkS: 30},
	"audioflamingo3": {family: "audio-flamingo-3", encoder: "audio_tower.", decoder: "language_model.", projector: twoLayers, chunkS: 30},
	"musicflamingo": {
		family: "music-flamingo", encoder: "audio_tower.", decoder: "language_model.", projector: twoLayers, skipped: []string{"pos_emb.", "audio_tower.pos_emb."}, chunkS: 30,
	},
}

var twoLayers = []string{"multi_modal_projector.linear_1", "multi_modal_projector.linear_2"}

// textConfig is the decoder's configuration.
type textConfig struct {
	Hidden    int             `json:"hidden_size"`
	Layers    int             `json:"num_hidden_layers"`
	Heads     int             `json:"num_attention_heads"`
	KVHeads   int             `json:"num_key_value_heads"`
	FFN       int             `json:"intermediate_size"`
	Vocab     int             `json:"vocab_size"`
	Positions int             `json:"max_position_embeddings"`
	NormEps   float64         `json:"rms_norm_eps"`
	Theta     float64         `json:"rope_theta"`
	Scaling   *ropeParameters `json:"rope_scaling"`
	Rope      *ropeParameters `json:"rope_parameters"`
	Sliding   bool            `json:"use_sliding_window"`
	Act       string          `json:"hidden_act"`
	Tied      bool            `json:"tie_word_embeddings"`
}

type ropeParameters struct {
	Theta float64 `json:"rope_theta"`
	Type  string  `json:"rope_type"`
}

// textDefaults are what a configuration leaves out: transformers saves the values that differ from those of the class (5.24.0: Qwen2Config, and for Omni
// Qwen2_5OmniTextConfig).
func textDefaults(family string) textConfig {
	if family == "qwen2.5-omni" {
		return textConfig{Hidden: 3584, Layers: 28, Heads: 28, KVHeads: 4, FFN: 18944, Vocab: 152064, Positions: 32768, NormEps: 1e-6, Theta: 1e6}
	}
	return textConfig{Hidden: 4096, Layers: 32, Heads: 32, KVHeads: 32, FFN: 22016, Vocab: 151936, Positions: 32768, NormEps: 1e-6, Theta: 1e4}
}

// audioConfig is the encoder's configuration, under Whisper's names or those of Audio Flamingo.
type audioConfig struct {
	Width     int `json:"d_model"`
	Layers    int `json:"encoder_layers"`
	Heads     int `json:"encoder_attention_heads"`
	FFN       int `json:"encoder_ffn_dim"`
	Width2    int `json:"hidden_size"`
	Layers2   int `json:"num_hidden_layers"`
	Heads2    int `json:"num_attention_heads"`
	FFN2      int `json:"intermediate_size"`
	Mels      int `json:"num_mel_bins"`
	Positions int `json:"max_source_positions"`
	// Window is half the frames of a block, in Qwen2.5-Omni.
	Window int `json:"n_window"`
}

type folderConfig struct {
	ModelType string          `json:"model_type"`
	Text      json.RawMessage `json:"text_config"`
	Audio     json.RawMessage `json:"audio_config"`
	Thinker   *folderConfig   `json:"thinker_config"`
	Vocab     int             `json:"vocab_size"`
}

// folder is a Hugging Face folder whose weights are open.
type folder struct {
	*llamabundle.Shards
	dir    string
	layout layout
	text   textConfig
	audio  audioConfig
	config Config
}

func openFolder(dir, family string) (*folder, error) {
	f := &folder{dir: dir}
	if err := f.readConfig(family); err != nil {
		return nil, err
	}
	if err := f.checkExtractor(); err != nil {
		return nil, err
	}
	var err error
	f.Shards, err = llamabundle.OpenShards(dir)
	return f, err
}

func (f *folder) readConfig(family string) error {
	var c folderConfig
	found, err := readJSON(f.dir, "config.json", &c)
	if err != nil {
		return err
	}
	if !found {
		return fmt.Errorf("%s has no config.json: it is not the folder of a Hugging Face model", f.dir)
	}
	kind := c.ModelType
	known, ok := layouts[strings.TrimSuffix(kind, "_thinker")]
	if !ok {
		return fmt.Errorf("checking config.json of %s: model_type is %q: known are %s", f.dir, kind, strings.Join(slices.Sorted(maps.Keys(layouts)), ", "))
	}
	if family != "" && family != known.family {
		return fmt.Errorf("checking config.json of %s: its model_type %q is of the family %s, not %s", f.dir, kind, known.family, family)
	}
	if strings.HasSuffix(kind, "_thinker") { // the thinker saved alone
		trim := func(s string) string { return strings.TrimPrefix(s, "thinker.") }
		known.encoder, known.decoder, known.projector = trim(known.encoder), trim(known.decoder), []string{"audio_tower.proj"}
		known.skipped = []string{"visual.", "audio_tower.audio_bos_eos_token."}
		known.nested = false
	}
	f.layout, f.text = known, textDefaults(known.family)
	if known.nested {
		if c.Thinker == nil {
			return fmt.Errorf("checking config.json of %s: it has no thinker_config", f.dir)
		}
		c = *c.Thinker
	}
	if err := errors.Join(parse(c.Text, "text_config", &f.text), parse(c.Audio, "audio_config", &f.audio)); err != nil {
		return fmt.Errorf("checking config.json of %s: %w", f.dir, err)
	}
	if err := f.text.check(); err != nil {
		return fmt.Errorf("checking text_config in config.json of %s: %w", f.dir, err)
	}
	return f.encoderConfig()
}

func parse(raw json.RawMessage, name string, to any) error {
	if len(raw) == 0 {
		return fmt.Errorf("%s is missing", name)
	}
	if err := json.Unmarshal(raw, to); err != nil {
		return fmt.Errorf("parsing %s: %w", name, err)
	}
	return nil
}

// encoderConfig takes the sizes of the encoder.
func (f *folder) encoderConfig() error {
	family, err := familyOf(f.layout.family)
	if err != nil {
		return err
	}
	a := f.audio
	f.config = Config{
		Layers: cmp.Or(a.Layers, a.Layers2, large.Layers), Heads: cmp.Or(a.Heads, a.Heads2, large.Heads), Width: cmp.Or(a.Width, a.Width2, large.Width),
		FFN: cmp.Or(a.FFN, a.FFN2, large.FFN), Mels: cmp.Or(a.Mels, large.Mels), Block: family.Block, // large: the defaults of all the classes
	}
	f.config.Positions = f.config.rows()
	if family.Block == 0 {
		f.config.Positions = cmp.Or(a.Positions, f.config.Positions)
	}
	if n := cmp.Or(a.Window, family.Block/2); 2*n != family.Block && family.Block > 0 {
		return fmt.Errorf("checking config.json of %s: n_window is %d, where %d is expected", f.dir, n, family.Block/2)
	}
	if err := f.config.Validate(); err != nil {
		return fmt.Errorf("checking audio_config in config.json of %s: %w", f.dir, err)
	}
	return nil
}

// checkExtractor refuses a feature extractor of other settings than the front end has.
func (f *folder) checkExtractor() error {
	var p map[string]any
	found, err := readJSON(f.dir, "preprocessor_config.json", &p)
	if err != nil {
		return err
	}
	if !found {
		var processor struct {
			Extractor map[string]any `json:"feature_extractor"`
		}
		if _, err := readJSON(f.dir, "processor_config.json", &processor); err != nil {
			return err
		}
		p = processor.Extractor
	}
	for key, want := range map[string]float64{
		"sampling_rate": SampleRate, "feature_size": 128, "hop_length": Hop, "n_fft": 400, "chunk_length": float64(f.layout.chunkS), "dither": 0, "padding_value": 0,
	} {
		if got, ok := p[key]; ok && got != want {
			return fmt.Errorf("checking preprocessor_config.json of %s: %s is %v, where %v is expected: the encoder would hear other spectrograms than it was trained on", f.dir, key, got, want)
		}
	}
	return nil
}

// check refuses what Qwen2's decoder has not.
func (t textConfig) check() error {
	var faults []error
	refuse := func(wrong bool, format string, args ...any) {
		if wrong {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	refuse(t.Hidden < 1 || t.Heads < 1 || t.Layers < 1 || t.FFN < 1 || t.Vocab < 1, "a size is missing")
	refuse(t.Sliding, "use_sliding_window is set, which is not supported")
	refuse(cmp.Or(t.Act, "silu") != "silu", "hidden_act is %q, where silu is expected", t.Act)
	for _, r := range []*ropeParameters{t.Scaling, t.Rope} {
		refuse(r != nil && !slices.Contains([]string{"", "default", "mrope"}, r.Type), "rotary positions of type %q are not supported", ropeType(r))
	}
	return errors.Join(faults...)
}

func ropeType(r *ropeParameters) string {
	if r == nil {
		return ""
	}
	return r.Type
}

func (t textConfig) llm() model.LLM {
	theta := t.Theta
	if t.Rope != nil && t.Rope.Theta > 0 {
		theta = t.Rope.Theta
	}
	return model.LLM{
		Layers: t.Layers, Hidden: t.Hidden, Heads: t.Heads, KVHeads: cmp.Or(t.KVHeads, t.Heads), FFN: t.FFN, Vocab: t.Vocab,
		RopeBase: theta, NormEps: t.NormEps, Context: t.Positions,
	}
}

func importFolder(ctx context.Context, cfg ImportConfig, progress Progress) (m model.Manifest, err error) {
	quant, err := quantOf(cfg)
	if err != nil {
		return m, err
	}
	f, err := openFolder(cfg.Folder, cfg.Family)
	if err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b := &bundle{dir: cfg.Out, config: f.config}
	if b.family, err = familyOf(f.layout.family); err != nil {
		return m, err
	}
	llm := f.text.llm()
	name := bundleName(cfg.Name, cfg.Folder)
	if err := b.describe(name, b.family.Name, llm); err != nil {
		return m, err
	}
	if err := b.licensed(cfg.AcceptLicence); err != nil {
		return m, err
	}
	g, err := f.generation(b.family)
	if err != nil {
		return m, err
	}
	b.generates(g)
	words, err := readVocabulary(cfg.Folder, llm.Vocab)
	if err != nil {
		return m, err
	}
	for _, token := range b.family.tokens() {
		if words.id(token) < 0 {
			return m, fmt.Errorf("checking the tokenizer of %s: it has no token %s, which the prompt of %s models needs", cfg.Folder, token, b.family.Name)
		}
	}
	if err := f.check(llm); err != nil {
		return m, err
	}
	b.encoder, b.decoderMeta = f.encoder(), decoderMeta(name, llm, words, quant)
	b.decoder = decoderPieces(f, f.decoderName, llm, f.text.Tied, quant)
	if err := f.projectorInto(ctx, b, llm.Hidden); err != nil {
		return m, err
	}
	if cfg.Quant != llamabundle.Q4KM {
		return b.write(ctx, nil, progress)
	}
	return b.quantised(ctx, cfg.Quantize, progress)
}

// quantOf is the type in which the decoder's matrices are written here.
func quantOf(cfg ImportConfig) (gguf.Type, error) {
	name := cmp.Or(cfg.Quant, "bf16")
	if name == llamabundle.Q4KM {
		if cfg.Quantize == nil {
			return 0, fmt.Errorf("quantising to %s needs llama.cpp's libraries", name)
		}
		return gguf.BF16, nil
	}
	t, ok := quants[name]
	if !ok {
		return 0, fmt.Errorf("quantisation %q is unknown: known are %v and %s", name, slices.Sorted(maps.Keys(quants)), llamabundle.Q4KM)
	}
	return t, nil
}

// quantised writes a decoder in bf16, of which llama.cpp makes the bundle's.
func (b *bundle) quantised(ctx context.Context, quantize llamabundle.Quantize, progress Progress) (model.Manifest, error) {
	if err := begin(b.dir); err != nil {
		return model.Manifest{}, err
	}
	whole := filepath.Join(b.dir, DecoderFile+".bf16")
	if _, err := write(ctx, whole, b.decoderMeta, b.decoder, &meter{total: bytesOf(b.decoder), tell: progress}); err != nil {
		return model.Manifest{}, err
	}
	b.decoderPath, b.decoder = whole, nil
	m, err := b.write(ctx, func(ctx context.Context, from, to string) (string, error) {
		if err := quantize(ctx, from, to+model.PartialSuffix); err != nil {
			return "", fmt.Errorf("quantising: %w", err)
		}
		return "", os.Rename(to+model.PartialSuffix, to)
	}, progress)
	if err != nil {
		return m, err
	}
	return m, os.Remove(whole)
}

func (f *folder) decoderName(hf string) string { return f.layout.decoder + hf }

// check demands every tensor in its shape, and none beside them in the parts that are taken.
func (f *folder) check(llm model.LLM) error {
	known := map[string]bool{}
	demand := func(name string, shape ...int) error {
		known[name] = true
		return f.Check(name, shape...)
	}
	for _, t := range f.config.Tensors() {
		shape := t.Shape
		if t.Vector {
			shape = shape[:1]
		}
		if err := demand(f.layout.encoder+t.HF, shape...); err != nil {
			return err
		}
	}
	width := f.config.Width
	for _, name := range f.layout.projector {
		if err := f.checkProjector(name+".weight", width, llm.Hidden); err != nil {
			return err
		}
		if err := errors.Join(demand(name+".weight", llm.Hidden, width), demand(name+".bias", llm.Hidden)); err != nil {
			return err
		}
		width = llm.Hidden
	}
	for _, w := range decoderWeights(llm, f.text.Tied) {
		if err := demand(f.decoderName(w.hf), w.shape...); err != nil {
			return err
		}
	}
	for _, name := range f.Names() {
		skip := func(prefix string) bool { return strings.HasPrefix(name, prefix) }
		if !known[name] && !slices.ContainsFunc(f.layout.skipped, skip) && name != f.decoderName("lm_head.weight") && !strings.HasSuffix(name, ".rotary_emb.inv_freq") {
			return fmt.Errorf("checking %s: the tensor %q is unknown to %s models: it is another kind of model", f.dir, name, f.layout.family)
		}
	}
	return nil
}

// checkProjector says it in words where the projector leads from or to other widths.
func (f *folder) checkProjector(name string, width, hidden int) error {
	if shape, _ := f.Shape(name); len(shape) == 2 && (shape[0] != hidden || shape[1] != width) {
		return fmt.Errorf("checking %s: the projector's %q leads from width %d to %d, where %d and %d are expected: encoder, projector and decoder do not belong together",
			f.dir, name, shape[1], shape[0], width, hidden)
	}
	return nil
}

// encoder are the encoder's tensors in the types that they were published in; vectors are kept in F32.
func (f *folder) encoder() []piece {
	types := map[string]gguf.Type{"F32": gguf.F32, "F16": gguf.F16, "BF16": gguf.BF16}
	var pieces []piece
	for _, t := range f.config.Tensors() {
		_, dtype := f.Shape(f.layout.encoder + t.HF)
		kind := types[dtype]
		if t.Vector {
			kind = gguf.F32
		}
		pieces = append(pieces, encoded(f, f.layout.encoder+t.HF, gguf.Tensor{Name: t.Name, Type: kind, Shape: t.Shape}))
	}
	return pieces
}

func (f *folder) projectorInto(ctx context.Context, b *bundle, hidden int) error {
	var names []string
	var shapes [][]int
	width := b.config.Width
	for _, name := range f.layout.projector {
		names, shapes = append(names, name+".weight", name+".bias"), append(shapes, []int{hidden, width}, []int{hidden})
		width = hidden
	}
	return b.layers(ctx, f, names, shapes)
}

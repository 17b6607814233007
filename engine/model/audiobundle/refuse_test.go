package audiobundle_test

import (
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/model/audiobundle/audiotest"
	"github.com/larkstream/larkstream/engine/model/gguf"
)

// edited is a GGUF file with other metadata and tensors: set changes, adds (or with nil removes) metadata; tensor may change a description, and
// leaves the tensor out if it returns false.
func edited(t *testing.T, path string, set map[string]any, tensor func(*gguf.Tensor) bool) string {
	t.Helper()
	return rewritten(t, path, set, nil, tensor)
}

// extended is a GGUF file with more metadata.
func extended(t *testing.T, path string, more []gguf.KV) string {
	t.Helper()
	return rewritten(t, path, nil, more, nil)
}

func rewritten(t *testing.T, path string, set map[string]any, more []gguf.KV, tensor func(*gguf.Tensor) bool) string {
	t.Helper()
	f, err := gguf.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	var meta []gguf.KV
	for _, kv := range f.Meta() {
		if v, ok := set[kv.Key]; ok {
			kv.Value = v
		}
		if kv.Value != nil {
			meta = append(meta, kv)
		}
	}
	meta = append(meta, more...)
	var tensors []gguf.Tensor
	for _, d := range f.Tensors() {
		if tensor == nil || tensor(&d) {
			tensors = append(tensors, d)
		}
	}
	out := filepath.Join(t.TempDir(), filepath.Base(path))
	w, err := os.Create(out)
	require.NoError(t, err)
	require.NoError(t, gguf.Stream(w, meta, tensors, func(d gguf.Tensor, w io.Writer) error {
		_, err := w.Write(make([]byte, d.Bytes()))
		return err
	}))
	require.NoError(t, w.Close())
	return out
}

// Whatever does not belong together or is damaged is refused by name before anything is written.
func TestPairsThatCannotBeServedAreRefused(t *testing.T) {
	t.Parallel()
	const omni, flamingo = "qwen2_5_omni", "musicflamingo"
	mmproj := func(family string) string { return audiotest.Path(family, "gguf", "mmproj-f16.gguf") }
	llm := func(family string) string { return audiotest.Path(family, "gguf", "llm-f16.gguf") }
	without := func(name string) func(*gguf.Tensor) bool {
		return func(d *gguf.Tensor) bool { return d.Name != name }
	}
	shaped := func(name string, shape ...int) func(*gguf.Tensor) bool {
		return func(d *gguf.Tensor) bool {
			if d.Name == name {
				d.Shape = shape
			}
			return true
		}
	}
	cut := func(path string) string {
		raw, err := os.ReadFile(path)
		require.NoError(t, err)
		out := filepath.Join(t.TempDir(), "cut.gguf")
		require.NoError(t, os.WriteFile(out, raw[:len(raw)-4096], 0o600))
		return out
	}
	for name, c := range map[string]struct{ llm, mmproj, family, want string }{
		"no mmproj":                  {llm(omni), llm(omni), "", "is it the decoder?"},
		"exchanged":                  {mmproj(omni), mmproj(omni), "", "clip.embedding_length"},
		"images only":                {llm(omni), edited(t, mmproj(omni), map[string]any{"clip.has_audio_encoder": false}, nil), "", "it is for images only"},
		"unknown projector":          {llm(omni), edited(t, mmproj(omni), map[string]any{"clip.projector_type": "ultravox"}, nil), "", `type "ultravox"`},
		"another family":             {llm(omni), mmproj(omni), "music-flamingo", "is that of qwen2.5-omni, not of music-flamingo"},
		"64 mel bands":               {llm(omni), edited(t, mmproj(omni), map[string]any{"clip.audio.num_mel_bins": uint32(64)}, nil), "", "mels 64"},
		"other epsilon":              {llm(omni), edited(t, mmproj(omni), map[string]any{"clip.audio.attention.layer_norm_epsilon": float32(1e-6)}, nil), "", "layer_norm_epsilon"},
		"no sizes":                   {llm(omni), edited(t, mmproj(omni), map[string]any{"clip.audio.block_count": nil}, nil), "", "clip.audio.block_count"},
		"more layers than there are": {llm(omni), edited(t, mmproj(omni), map[string]any{"clip.audio.block_count": uint32(4)}, nil), "", `no tensor "a.blk.3.ln1.weight"`},
		"a tensor missing":           {llm(omni), edited(t, mmproj(omni), nil, without("a.blk.1.attn_q.bias")), "", `no tensor "a.blk.1.attn_q.bias"`},
		"a tensor of another shape":  {llm(omni), edited(t, mmproj(omni), nil, shaped("a.post_ln.weight", 64)), "", `"a.post_ln.weight" has shape [64], where [80]`},
		"an unknown tensor": {llm(omni), edited(t, mmproj(omni), nil, func(d *gguf.Tensor) bool {
			if d.Name == "mm.0.bias" {
				d.Name = "a.blk.0.attn_k.bias"
			}
			return true
		}), "", `"a.blk.0.attn_k.bias" is unknown`},
		"a quantisation not read": {llm(omni), edited(t, mmproj(omni), nil, func(d *gguf.Tensor) bool {
			if d.Name == "a.blk.0.ffn_up.weight" {
				d.Type, d.Shape = 24, []int{320, 80}
			}
			return true
		}), "", "is of I8"},
		"no projector": {llm(flamingo), edited(t, mmproj(flamingo), nil, without("mm.a.mlp.2.bias")), "", `no tensor "mm.a.mlp.2.bias"`},
		"a projector to another decoder": {
			llm(flamingo), edited(t, mmproj(flamingo), nil, shaped("mm.a.mlp.1.weight", 128, 80)), "",
			"leads to another decoder than that of width 64",
		},
		"a decoder without the tokens":     {llm("audioflamingo3"), mmproj(omni), "", "no token <|AUDIO|>"},
		"Audio Flamingo as Music Flamingo": {llm("audioflamingo3"), mmproj("audioflamingo3"), "music-flamingo", "no token <|sound_bos|>"},
		"a part of a model":                {extended(t, llm(omni), []gguf.KV{{Key: "split.count", Value: uint16(3)}}), mmproj(omni), "", "it is one of 3 parts"},
		"top-p of 2":                       {extended(t, llm(omni), []gguf.KV{{Key: "general.sampling.top_p", Value: float32(2)}}), mmproj(omni), "", "top_p 2"},
		"another architecture": {edited(t, llm(flamingo), map[string]any{
			"general.architecture": "llama",
		}, nil), mmproj(flamingo), "", "llama.block_count"},
		"another tokenizer":          {edited(t, llm(flamingo), map[string]any{"tokenizer.ggml.pre": "llama-bpe"}, nil), mmproj(flamingo), "", `tokenizer.ggml.pre is "llama-bpe"`},
		"a decoder's tensor missing": {edited(t, llm(flamingo), nil, without("blk.1.attn_v.bias")), mmproj(flamingo), "", `no tensor "blk.1.attn_v.bias"`},
		"fewer tokens than rows":     {edited(t, llm(flamingo), map[string]any{"tokenizer.ggml.tokens": []string{"a", "b"}}, nil), mmproj(flamingo), "", "2 tokens"},
		"a mmproj file cut short":    {llm(omni), cut(mmproj(omni)), "", "cut short"},
		"a decoder cut short":        {cut(llm(omni)), mmproj(omni), "", "cut short"},
		"a missing file":             {llm(omni), mmproj(omni) + ".gone", "", "no such file"},
	} {
		out := filepath.Join(t.TempDir(), "out")
		_, err := audiobundle.Import(t.Context(), audiobundle.ImportConfig{LLM: c.llm, MMProj: c.mmproj, Family: c.family, AcceptLicence: true, Out: out}, quiet)
		require.ErrorContains(t, err, c.want, name)
		require.NoFileExists(t, filepath.Join(out, model.ManifestFile), name)
	}
}

// Weights that are no numbers never become a bundle.
func TestValuesThatAreNotFiniteAreRefused(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(audiotest.Path("audioflamingo3", "gguf", "mmproj-f16.gguf"))
	require.NoError(t, err)
	f, err := gguf.Open(audiotest.Path("audioflamingo3", "gguf", "mmproj-f16.gguf"))
	require.NoError(t, err)
	piece := []byte{}
	require.NoError(t, f.Read(t.Context(), "a.blk.0.ffn_up.weight", func(p []byte) error { piece = slices.Clone(p); return nil }))
	require.NoError(t, f.Close())
	at := strings.Index(string(raw), string(piece))
	raw[at], raw[at+1] = 0, 0x7c // infinite in F16
	path := filepath.Join(t.TempDir(), "mmproj.gguf")
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	cfg := audiotest.Config("audioflamingo3", "gguf")
	cfg.MMProj, cfg.Out = path, filepath.Join(t.TempDir(), "out")
	_, err = audiobundle.Import(t.Context(), cfg, quiet)
	require.ErrorContains(t, err, "not finite")
	require.NoFileExists(t, filepath.Join(cfg.Out, model.ManifestFile))
}

func TestNonCommercialLicencesMustBeAccepted(t *testing.T) {
	t.Parallel()
	for _, form := range []string{"gguf", "hf"} {
		cfg := audiotest.Config("musicflamingo", form)
		cfg.AcceptLicence, cfg.Out = false, filepath.Join(t.TempDir(), "out")
		_, err := audiobundle.Import(t.Context(), cfg, quiet)
		require.ErrorContains(t, err, "--accept-licence")
		require.NoDirExists(t, cfg.Out)
	}
	b := audiotest.Bundle(t, "musicflamingo", "gguf")
	require.True(t, b.NonCommercial)
	require.Contains(t, b.DisplayName(), "non-commercial")
	require.NotContains(t, audiotest.Bundle(t, "qwen2_audio", "gguf").DisplayName(), "non-commercial")
}

func TestImportsThatAreNoChoiceAreRefused(t *testing.T) {
	t.Parallel()
	for _, cfg := range []audiobundle.ImportConfig{{}, {LLM: "a"}, {MMProj: "a"}, {LLM: "a", MMProj: "b", Folder: "c"}, {Folder: t.TempDir()}, {Folder: t.TempDir(), Quant: "q3"}} {
		cfg.Out = filepath.Join(t.TempDir(), "out")
		_, err := audiobundle.Import(t.Context(), cfg, quiet)
		require.Error(t, err, "%+v", cfg)
	}
	cfg := audiotest.Config("qwen2_audio", "gguf")
	cfg.Out = t.TempDir()
	_, err := audiobundle.Import(t.Context(), cfg, quiet)
	require.NoError(t, err)
	_, err = audiobundle.Import(t.Context(), cfg, quiet)
	require.ErrorContains(t, err, "holds a bundle already")
}

// folder is a copy of a family's folder with a JSON file changed.
func folder(t *testing.T, family, file string, change func(map[string]any)) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "model")
	require.NoError(t, os.CopyFS(dir, os.DirFS(audiotest.Path(family, "hf"))))
	raw, err := os.ReadFile(filepath.Join(dir, file))
	require.NoError(t, err)
	var v map[string]any
	require.NoError(t, json.Unmarshal(raw, &v))
	change(v)
	raw, err = json.Marshal(v)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, file), raw, 0o600))
	return dir
}

func TestFoldersThatCannotBeServedAreRefused(t *testing.T) {
	t.Parallel()
	const flamingo = "musicflamingo"
	part := func(v map[string]any, key string) map[string]any { return v[key].(map[string]any) }
	for name, c := range map[string]struct {
		dir, want string
	}{
		"another model":    {folder(t, flamingo, "config.json", func(v map[string]any) { v["model_type"] = "whisper" }), `model_type is "whisper"`},
		"no audio":         {folder(t, flamingo, "config.json", func(v map[string]any) { delete(v, "audio_config") }), "audio_config is missing"},
		"sliding window":   {folder(t, flamingo, "config.json", func(v map[string]any) { part(v, "text_config")["use_sliding_window"] = true }), "use_sliding_window"},
		"yarn":             {folder(t, flamingo, "config.json", func(v map[string]any) { part(v, "text_config")["rope_scaling"] = map[string]any{"rope_type": "yarn"} }), `type "yarn"`},
		"more layers":      {folder(t, flamingo, "config.json", func(v map[string]any) { part(v, "audio_config")["num_hidden_layers"] = 4 }), `"audio_tower.layers.3.self_attn_layer_norm.weight"`},
		"fewer layers":     {folder(t, flamingo, "config.json", func(v map[string]any) { part(v, "audio_config")["num_hidden_layers"] = 2 }), "is unknown to music-flamingo models"},
		"another decoder":  {folder(t, flamingo, "config.json", func(v map[string]any) { part(v, "text_config")["hidden_size"] = 128 }), "do not belong together"},
		"another rate":     {folder(t, flamingo, "preprocessor_config.json", func(v map[string]any) { v["sampling_rate"] = 22050 }), "sampling_rate is 22050"},
		"80 mel bands":     {folder(t, flamingo, "preprocessor_config.json", func(v map[string]any) { v["feature_size"] = 80 }), "feature_size is 80"},
		"other blocks":     {folder(t, "qwen2_5_omni", "config.json", func(v map[string]any) { part(part(v, "thinker_config"), "audio_config")["n_window"] = 50 }), "n_window is 50"},
		"no thinker":       {folder(t, "qwen2_5_omni", "config.json", func(v map[string]any) { delete(v, "thinker_config") }), "no thinker_config"},
		"too hot":          {folder(t, flamingo, "generation_config.json", func(v map[string]any) { v["do_sample"], v["temperature"] = true, 11 }), "temperature 11"},
		"a negative limit": {folder(t, flamingo, "generation_config.json", func(v map[string]any) { v["max_new_tokens"] = -1 }), "max_new_tokens -1"},
		"a negative size":  {folder(t, flamingo, "config.json", func(v map[string]any) { part(v, "text_config")["num_hidden_layers"] = -1 }), "a size is missing"},
		// What is left out has the value of the class, here 4096 and 32; the tensors tell that it is not theirs.
		"a default width":   {folder(t, "qwen2_audio", "config.json", func(v map[string]any) { delete(part(v, "text_config"), "hidden_size") }), "where 80 and 4096 are expected"},
		"default layers":    {folder(t, "audioflamingo3", "config.json", func(v map[string]any) { delete(part(v, "audio_config"), "num_hidden_layers") }), `"audio_tower.layers.3.`},
		"a default of Omni": {folder(t, "qwen2_5_omni", "config.json", func(v map[string]any) { delete(part(part(v, "thinker_config"), "text_config"), "num_hidden_layers") }), `"thinker.model.layers.2.`},
		"another tokenizer": {folder(t, flamingo, "tokenizer.json", func(v map[string]any) { part(v, "model")["type"] = "Unigram" }), `"Unigram"`},
	} {
		out := filepath.Join(t.TempDir(), "out")
		_, err := audiobundle.Import(t.Context(), audiobundle.ImportConfig{Folder: c.dir, AcceptLicence: true, Out: out}, quiet)
		require.ErrorContains(t, err, c.want, name)
		require.NoFileExists(t, filepath.Join(out, model.ManifestFile), name)
	}
}

// A folder without tokenizer.json is read from the files of the slow tokenizer, and gives the same decoder.
func TestBothFormsOfTheTokenizerGiveTheSame(t *testing.T) {
	t.Parallel()
	digests := map[string]bool{}
	for _, slow := range []bool{false, true} {
		dir := filepath.Join(t.TempDir(), "model")
		require.NoError(t, os.CopyFS(dir, os.DirFS(audiotest.Path("qwen2_audio", "hf"))))
		if slow {
			require.NoError(t, os.Remove(filepath.Join(dir, "tokenizer.json")))
		}
		m, err := audiobundle.Import(t.Context(), audiobundle.ImportConfig{Folder: dir, Out: filepath.Join(t.TempDir(), "out")}, quiet)
		require.NoError(t, err)
		digests[m.LLM.SHA256] = true
	}
	require.Len(t, digests, 1)
}

// Every quantisation gives a bundle whose file has the type asked for.
func TestFoldersAreQuantised(t *testing.T) {
	t.Parallel()
	for quant, want := range map[string]gguf.Type{"f32": gguf.F32, "f16": gguf.F16, "bf16": gguf.BF16, "q8_0": gguf.Q8_0} {
		out := filepath.Join(t.TempDir(), "out")
		_, err := audiobundle.Import(t.Context(), audiobundle.ImportConfig{Folder: audiotest.Path("qwen2_audio", "hf"), Quant: quant, Out: out}, quiet)
		require.NoError(t, err)
		f, err := gguf.Open(filepath.Join(out, audiobundle.DecoderFile))
		require.NoError(t, err)
		d, ok := f.Tensor("blk.0.attn_q.weight")
		require.True(t, ok)
		require.Equal(t, want, d.Type)
		require.NoError(t, f.Close())
	}
}

func TestRandomBundlesOfEveryFamily(t *testing.T) {
	t.Parallel()
	for _, family := range audiobundle.FamilyNames() {
		var digests []string
		for _, seed := range []uint64{1, 1, 2} {
			out := filepath.Join(t.TempDir(), "out")
			m, err := audiobundle.Random(t.Context(), audiobundle.RandomConfig{Preset: "tiny", Family: family, Seed: seed, Out: out}, quiet)
			require.NoError(t, err)
			b, err := model.LoadComplete(out)
			require.NoError(t, err)
			require.True(t, b.Random)
			require.Contains(t, b.DisplayName(), "random weights")
			require.Equal(t, family+"-random", b.EncoderID)
			digests = append(digests, m.Encoder.SHA256)
		}
		require.Equal(t, digests[0], digests[1])
		require.NotEqual(t, digests[0], digests[2])
	}
	for _, cfg := range []audiobundle.RandomConfig{{Preset: "huge"}, {Preset: "tiny", Family: "x"}, {Preset: "tiny", Quant: "q1"}, {Preset: "music-flamingo", Family: "qwen2-audio"}} {
		cfg.Out = filepath.Join(t.TempDir(), "out")
		_, err := audiobundle.Random(t.Context(), cfg, quiet)
		require.Error(t, err, "%+v", cfg)
		require.NoDirExists(t, cfg.Out)
	}
}

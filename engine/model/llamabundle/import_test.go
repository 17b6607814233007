package llamabundle_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/model/llamabundle"
	"github.com/larkstream/larkstream/engine/model/modeltest"
)

// folder writes a random Hugging Face folder of the shape grouped.
func folder(t *testing.T, dtype string, shards int) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "Some-LLark_7B")
	cfg := llamabundle.FolderConfig{Shape: grouped, Seed: 9, DType: dtype, Width: 12, Shards: shards}
	require.NoError(t, llamabundle.RandomFolder(t.Context(), cfg, dir))
	return dir
}

func importTo(t *testing.T, cfg llamabundle.ImportConfig) (*model.Bundle, error) {
	t.Helper()
	cfg.Out = filepath.Join(t.TempDir(), "out")
	if cfg.Encoder == "" {
		cfg.Encoder = modeltest.Bundle(t).Dir
	}
	if cfg.Quant == "" && cfg.GGUF == "" {
		cfg.Quant = "f32"
	}
	m, err := llamabundle.Import(t.Context(), cfg, quiet)
	if err != nil {
		return nil, err
	}
	b, err := model.LoadComplete(cfg.Out)
	require.NoError(t, err)
	require.Equal(t, m, b.Manifest)
	return b, nil
}

// bytes of the decoder and the projector of a bundle.
func contents(t *testing.T, b *model.Bundle) (decoder *gguf.File, projector []byte) {
	t.Helper()
	projector, err := os.ReadFile(b.ProjectorPath())
	require.NoError(t, err)
	return open(t, b.Dir), projector
}

// A folder with the weights of a random bundle gives the same decoder, tensor by tensor, and the same projector and vocabulary.
func TestImportedFolderHoldsTheSameModel(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	encoder := modeltest.Bundle(t).Dir
	_, err := llamabundle.RandomOf(t.Context(), grouped, llamabundle.RandomConfig{Seed: 9, Quant: "f32", Encoder: encoder, Out: dir}, quiet)
	require.NoError(t, err)
	random, err := model.LoadComplete(dir)
	require.NoError(t, err)
	want, wantProjector := contents(t, random)
	for _, shards := range []int{1, 3} {
		b, err := importTo(t, llamabundle.ImportConfig{Folder: folder(t, "F32", shards)})
		require.NoError(t, err)
		require.Equal(t, "some-llark_7b", b.Name)
		require.Equal(t, random.Prompt, b.Prompt)
		got, projector := contents(t, b)
		require.Equal(t, wantProjector, projector)
		require.Equal(t, want.Tensors(), got.Tensors())
		for _, w := range want.Tensors() {
			require.Equal(t, values(t, want, w.Name), values(t, got, w.Name), w.Name)
		}
		for _, key := range []string{"tokens", "scores", "token_type"} {
			require.Equal(t, metadata(t, want, key), metadata(t, got, key))
		}
		for _, key := range []string{"bos", "eos", "unknown", "padding"} {
			a, err := want.Int("tokenizer.ggml." + key + "_token_id")
			require.NoError(t, err)
			b, err := got.Int("tokenizer.ggml." + key + "_token_id")
			require.NoError(t, err)
			require.Equal(t, a, b)
		}
		l := random.LLM
		l.SHA256 = b.LLM.SHA256 // the names in the files differ
		require.Equal(t, l, b.LLM)
	}
}

func metadata(t *testing.T, f *gguf.File, key string) any {
	t.Helper()
	key = "tokenizer.ggml." + key
	if texts, err := gguf.Value[[]string](f, key); err == nil {
		return texts
	}
	if numbers, err := gguf.Value[[]float32](f, key); err == nil {
		return numbers
	}
	numbers, err := gguf.Value[[]int32](f, key)
	require.NoError(t, err)
	return numbers
}

func TestImportKeepsBrainFloatsAsTheyAre(t *testing.T) {
	t.Parallel()
	dir := folder(t, "BF16", 2)
	b, err := importTo(t, llamabundle.ImportConfig{Folder: dir, Quant: "bf16"})
	require.NoError(t, err)
	f := open(t, b.Dir)
	shard, err := model.OpenSafetensors(filepath.Join(dir, "model-00001-of-00002.safetensors"))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, shard.Close()) })
	want, err := shard.F32("model.embed_tokens.weight")
	require.NoError(t, err)
	require.Equal(t, want, values(t, f, "token_embd.weight"))
	for quant, kind := range map[string]gguf.Type{"f16": gguf.F16, "q8_0": gguf.Q8_0} {
		b, err := importTo(t, llamabundle.ImportConfig{Folder: dir, Quant: quant})
		require.NoError(t, err)
		w, _ := open(t, b.Dir).Tensor("blk.2.ffn_down.weight")
		require.Equal(t, kind, w.Type)
	}
}

// The prompt is LLark's prompt to the letter.
func TestImportWritesLLarksPrompt(t *testing.T) {
	t.Parallel()
	b, err := importTo(t, llamabundle.ImportConfig{Folder: folder(t, "F32", 1)})
	require.NoError(t, err)
	p := b.Prompt
	require.Equal(t, "<s>A chat between a curious human and an artificial intelligence assistant. The assistant gives helpful, detailed, and polite answers to the human's questions.\n\n### Human: <audio_start>", p.Prefix)
	require.Equal(t, "<audio_end>\n", p.Suffix)
	require.Equal(t, "{question}\n### Assistant:", p.Question)
	require.Equal(t, []string{"###"}, p.Stop)
	require.Equal(t, model.Trained, p.Whitespace)
}

func TestImportTakesTheEncoder(t *testing.T) {
	t.Parallel()
	encoder := modeltest.Bundle(t)
	dir := folder(t, "F32", 1)
	b, err := importTo(t, llamabundle.ImportConfig{Folder: dir, Encoder: encoder.Dir, Name: "mine"})
	require.NoError(t, err)
	require.Equal(t, "mine", b.Name)
	require.Equal(t, encoder.EmbeddingKey("w"), b.EmbeddingKey("w"))
	from, err := os.Stat(encoder.EncoderPath())
	require.NoError(t, err)
	to, err := os.Stat(b.EncoderPath())
	require.NoError(t, err)
	require.True(t, os.SameFile(from, to), "linked, not copied")

	m := modeltest.Manifest() // a bundle with the encoder only is completed
	m.Projector, m.LLM, m.Prompt = model.Projector{}, model.LLM{}, model.Prompt{}
	alone := modeltest.Write(t, modeltest.Manifest())
	require.NoError(t, m.Seal(alone))
	_, err = llamabundle.Import(t.Context(), llamabundle.ImportConfig{Folder: dir, Quant: "f32", Out: alone}, quiet)
	require.NoError(t, err)
	_, err = model.LoadComplete(alone)
	require.NoError(t, err)

	_, err = llamabundle.Import(t.Context(), llamabundle.ImportConfig{Folder: dir, Quant: "f32", Out: t.TempDir()}, quiet)
	require.ErrorContains(t, err, "has no encoder, which a bundle needs: name one with --encoder")
	m = modeltest.Manifest()
	m.Encoder.Width, m.Projector.In = 13, 13
	_, err = importTo(t, llamabundle.ImportConfig{Folder: dir, Encoder: modeltest.Write(t, m)})
	require.ErrorContains(t, err, "goes from frames of width 12 to a decoder of width 96, but the encoder's frames have 13")
}

func TestImportOfAReadyFile(t *testing.T) {
	t.Parallel()
	first, err := importTo(t, llamabundle.ImportConfig{Folder: folder(t, "F32", 1), Quant: "q8_0"})
	require.NoError(t, err)
	b, err := importTo(t, llamabundle.ImportConfig{GGUF: first.LLMPath(), Projector: first.ProjectorPath()})
	require.NoError(t, err)
	l := first.LLM
	require.Equal(t, l, b.LLM)
	require.Equal(t, first.Prompt, b.Prompt)
	require.Equal(t, "llm", b.Name)

	for want, cfg := range map[string]llamabundle.ImportConfig{
		"no file has the projector's":   {GGUF: first.LLMPath()},
		"taken as it is":                {GGUF: first.LLMPath(), Quant: "q8_0"},
		"either a Hugging Face folder":  {},
		"does not begin with GGUF":      {GGUF: first.ProjectorPath()},
		"no such file":                  {GGUF: filepath.Join(t.TempDir(), "gone")},
		"opening the projector":         {GGUF: first.LLMPath(), Projector: filepath.Join(t.TempDir(), "gone")},
		"neither a PyTorch checkpoint ": {GGUF: first.LLMPath(), Projector: first.LLMPath()},
	} {
		cfg.Encoder, cfg.Out = first.Dir, t.TempDir()
		_, err := llamabundle.Import(t.Context(), cfg, quiet)
		require.ErrorContains(t, err, want)
	}
}

// edit changes a JSON file of a folder.
func edit(t *testing.T, dir, name string, change func(map[string]any)) {
	t.Helper()
	path := filepath.Join(dir, name)
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	var v map[string]any
	require.NoError(t, json.Unmarshal(raw, &v))
	change(v)
	raw, err = json.Marshal(v)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, raw, 0o600))
}

func set(pairs ...any) func(map[string]any) {
	return func(m map[string]any) {
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i].(string)] = pairs[i+1]
		}
	}
}

func TestImportNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	encoder := modeltest.Bundle(t).Dir
	for want, damage := range map[string]func(dir string){
		"has no config.json": func(dir string) { remove(t, dir, "config.json") },
		"heads 0 is not":     func(dir string) { edit(t, dir, "config.json", set("num_attention_heads", 0)) },
		"rope_scaling is {\"type\":\"linear\"}, which": func(dir string) { edit(t, dir, "config.json", set("rope_scaling", map[string]any{"type": "linear"})) },
		"the rope_type is not default": func(dir string) {
			edit(t, dir, "config.json", set("rope_parameters", map[string]any{"rope_type": "llama3"}))
		},
		"sliding_window":            func(dir string) { edit(t, dir, "config.json", set("sliding_window", 16)) },
		"hidden_act is \"gelu\"":    func(dir string) { edit(t, dir, "config.json", set("hidden_act", "gelu")) },
		"layers have biases":        func(dir string) { edit(t, dir, "config.json", set("attention_bias", true)) },
		"head_dim is 32":            func(dir string) { edit(t, dir, "config.json", set("head_dim", 32)) },
		"a tensor \"model.layers.3": func(dir string) { edit(t, dir, "config.json", set("num_hidden_layers", 4)) },
		"\"model.layers.2.input_layernorm.weight\" is unknown":             func(dir string) { edit(t, dir, "config.json", set("num_hidden_layers", 2)) },
		"\"model.embed_tokens.weight\" has shape [400 96], where [401 96]": func(dir string) { edit(t, dir, "config.json", set("vocab_size", 401)) },
		"this one is missing":           func(dir string) { remove(t, dir, "model-00002-of-00002.safetensors") },
		"neither model.safetensors nor": func(dir string) { remove(t, dir, "model.safetensors.index.json") },
		"is not one of the folder": func(dir string) {
			edit(t, dir, "model.safetensors.index.json", set("weight_map", map[string]string{"a": "../x"}))
		},
		"names 0 shards": func(dir string) { edit(t, dir, "model.safetensors.index.json", set("weight_map", map[string]string{})) },
		"\"extra\" lies in model-00001": func(dir string) {
			edit(t, dir, "model.safetensors.index.json", func(m map[string]any) { m["weight_map"].(map[string]any)["extra"] = "model-00001-of-00002.safetensors" })
		},
		"cut short": func(dir string) {
			require.NoError(t, os.Truncate(filepath.Join(dir, "model-00002-of-00002.safetensors"), 20000))
		},
		"neither tokenizer.model nor": func(dir string) { remove(t, dir, "tokenizer.model") },
		"has no tokens <audio_start>": func(dir string) { remove(t, dir, "added_tokens.json") },
		"\"<audio_end>\" is 400, but": func(dir string) { edit(t, dir, "added_tokens.json", set("<audio_end>", 400)) },
		"token 5 is \"x\", but":       func(dir string) { edit(t, dir, "added_tokens.json", set("x", 5)) },
		"reading the tokenizer": func(dir string) {
			require.NoError(t, os.WriteFile(filepath.Join(dir, "tokenizer.model"), []byte("<html>"), 0o600))
		},
	} {
		dir := folder(t, "F32", 2)
		damage(dir)
		_, err := llamabundle.Import(t.Context(), llamabundle.ImportConfig{Folder: dir, Quant: "f32", Encoder: encoder, Out: t.TempDir()}, quiet)
		require.ErrorContains(t, err, want)
	}
}

func remove(t *testing.T, dir, name string) {
	t.Helper()
	require.NoError(t, os.Remove(filepath.Join(dir, name)))
}

func TestImportRefusesValuesThatAreNotFinite(t *testing.T) {
	t.Parallel()
	dir := folder(t, "F32", 1)
	path := filepath.Join(dir, "model.safetensors")
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	header, data, err := model.SafetensorsHeader(strings.NewReader(string(raw)), int64(len(raw)))
	require.NoError(t, err)
	at := data + header["model.layers.1.mlp.up_proj.weight"].Start
	copy(raw[at:], []byte{0, 0, 0xc0, 0x7f})
	require.NoError(t, os.WriteFile(path, raw, 0o600))
	_, err = importTo(t, llamabundle.ImportConfig{Folder: dir})
	require.ErrorContains(t, err, `"model.layers.1.mlp.up_proj.weight"`)
	require.ErrorContains(t, err, "the value NaN is not finite")
}

func TestTheProjectorMayLieApart(t *testing.T) {
	t.Parallel()
	dir := folder(t, "F32", 1)
	b, err := importTo(t, llamabundle.ImportConfig{Folder: dir})
	require.NoError(t, err)
	_, want := contents(t, b)
	path := filepath.Join(dir, "model.safetensors")
	s, err := model.OpenSafetensors(path)
	require.NoError(t, err)
	var inside, apart []model.Tensor
	for _, name := range s.Names() {
		info, _ := s.Info(name)
		data, err := s.F32(name)
		require.NoError(t, err)
		tensor := model.Tensor{Name: name, DType: "F32", Shape: info.Shape, Data: data}
		if rest, ok := strings.CutPrefix(name, "model.mm_projector."); ok {
			tensor.Name = rest
			apart = append(apart, tensor)
		} else {
			inside = append(inside, tensor)
		}
	}
	require.NoError(t, s.Close())
	require.NoError(t, model.WriteSafetensors(path, inside))
	_, err = importTo(t, llamabundle.ImportConfig{Folder: dir})
	require.ErrorContains(t, err, "name the file that holds it with --projector")
	for _, prefix := range []string{"", "mm_projector.", "model.mm_projector."} {
		file := filepath.Join(t.TempDir(), "p.safetensors")
		named := make([]model.Tensor, len(apart))
		for i, p := range apart {
			p.Name = prefix + p.Name
			named[i] = p
		}
		require.NoError(t, model.WriteSafetensors(file, named))
		b, err := importTo(t, llamabundle.ImportConfig{Folder: dir, Projector: file})
		require.NoError(t, err)
		_, got := contents(t, b)
		require.Equal(t, want, got)
	}
}

// A file that stands in the way of the link, as another file system would, makes it a copy, which is compared with its digest.
func TestTheEncoderIsCopiedWhereItCannotBeLinked(t *testing.T) {
	t.Parallel()
	encoder, dir := modeltest.Bundle(t), folder(t, "F32", 1)
	out := t.TempDir()
	inTheWay := func() {
		require.NoError(t, os.WriteFile(filepath.Join(out, encoder.Encoder.File), []byte("x"), 0o600))
	}
	inTheWay()
	_, err := llamabundle.Import(t.Context(), llamabundle.ImportConfig{Folder: dir, Quant: "f32", Encoder: encoder.Dir, Out: out}, quiet)
	require.NoError(t, err)
	_, err = model.LoadComplete(out)
	require.NoError(t, err)
	from, err := os.Stat(encoder.EncoderPath())
	require.NoError(t, err)
	to, err := os.Stat(filepath.Join(out, encoder.Encoder.File))
	require.NoError(t, err)
	require.False(t, os.SameFile(from, to))

	remove(t, out, model.ManifestFile)
	inTheWay()
	require.NoError(t, os.WriteFile(encoder.EncoderPath(), []byte("damaged"), 0o600))
	_, err = llamabundle.Import(t.Context(), llamabundle.ImportConfig{Folder: dir, Quant: "f32", Encoder: encoder.Dir, Out: out}, quiet)
	require.ErrorContains(t, err, "it is damaged, fetch it again")
}

package jukeboxbundle

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
)

// draw gives the values of a random tensor.
func draw(t *testing.T, all map[string]Tensor, name string) []float64 {
	t.Helper()
	spec, ok := all[name]
	require.True(t, ok, name)
	var raw bytes.Buffer
	require.NoError(t, dice{seed: 5}.write(t.Context(), spec, &raw))
	values, err := model.ToF32(spec.dtype(), raw.Bytes())
	require.NoError(t, err)
	out := make([]float64, len(values))
	for i, v := range values {
		out[i] = float64(v)
	}
	return out
}

func rms(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v * v
	}
	return math.Sqrt(sum / float64(len(x)))
}

// affine is x·w + b for one row.
func affine(x, w, b []float64) []float64 {
	out := append([]float64(nil), b...)
	for i, v := range x {
		for j := range out {
			out[j] += v * w[i*len(b)+j]
		}
	}
	return out
}

func norm(x, weight, bias []float64) []float64 {
	mean, variance := 0.0, 0.0
	for _, v := range x {
		mean += v / float64(len(x))
	}
	for _, v := range x {
		variance += (v - mean) * (v - mean) / float64(len(x))
	}
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = (v-mean)/math.Sqrt(variance+1e-5)*weight[i] + bias[i]
	}
	return out
}

// attend lets every row see itself and those before, with one head, as in one block of the prior. It returns the largest
// share that a row gave to another, on average.
func attend(rows [][]float64, state int) (out [][]float64, share float64) {
	for i := range rows {
		weights, sum, largest := make([]float64, i+1), 0.0, 0.0
		for j := range weights {
			dot := 0.0
			for k := range state {
				dot += rows[i][k] * rows[j][state+k]
			}
			weights[j] = math.Exp(dot / math.Sqrt(float64(state)))
			sum, largest = sum+weights[j], max(largest, weights[j])
		}
		o := make([]float64, state)
		for j, w := range weights {
			for k := range o {
				o[k] += w / sum * rows[j][2*state+k]
			}
		}
		out, share = append(out, o), share+largest/sum/float64(len(rows))
	}
	return out, share
}

// TestRandomActivationsStayInOrder runs 36 layers of a narrow random prior in plain arithmetic.
func TestRandomActivationsStayInOrder(t *testing.T) {
	t.Parallel()
	c := Config{Layers: 36, Heads: 1, Blocks: 1, Context: 48, Width: 64, State: 16, MLP: 64, Bins: 64, CodeWidth: 8, ConvWidth: 4, Genres: 2, Artists: 2}
	require.NoError(t, c.Validate())
	all := map[string]Tensor{}
	for _, spec := range c.Tensors() {
		all[spec.Name] = spec
	}
	codes, positions := draw(t, all, "prior.x_emb.weight"), draw(t, all, "prior.pos_emb.pos_emb")
	x := make([][]float64, c.Context)
	for i := range x {
		for k := range c.Width {
			x[i] = append(x[i], codes[i*c.Width+k]+positions[i*c.Width+k])
		}
	}
	for layer := range c.Layers {
		get := func(name string) []float64 {
			return draw(t, all, fmt.Sprintf("prior.transformer._attn_mods.%d.%s", layer, name))
		}
		qkv := make([][]float64, len(x))
		for i := range x {
			qkv[i] = affine(norm(x[i], get("ln_0.weight"), get("ln_0.bias")), get("attn.c_attn.w"), get("attn.c_attn.b"))
		}
		heard, share := attend(qkv, c.State)
		require.Greater(t, share, 3.0/float64(c.Context), "layer %d: attention is not uniform", layer)
		for i := range x {
			a := affine(heard[i], get("attn.c_proj.w"), get("attn.c_proj.b"))
			for k := range a {
				x[i][k] += a[k]
			}
			m := affine(norm(x[i], get("ln_1.weight"), get("ln_1.bias")), get("mlp.c_fc.w"), get("mlp.c_fc.b"))
			for k, v := range m {
				m[k] = v / (1 + math.Exp(-1.702*v))
			}
			for k, v := range affine(m, get("mlp.c_proj.w"), get("mlp.c_proj.b")) {
				x[i][k] += v
			}
			require.InDelta(t, 5.5, rms(x[i]), 5, "layer %d, row %d", layer, i)
		}
	}
}

func TestRandomTensorsHaveTheirDeviation(t *testing.T) {
	t.Parallel()
	spec := Tensor{Name: "w", Shape: []int{400, 1000}, Matrix: true, gain: 0.7}
	values := draw(t, map[string]Tensor{"w": spec}, "w")
	require.InDelta(t, 0.7/20, rms(values), 1e-4)
	vector := draw(t, map[string]Tensor{"v": {Name: "v", Shape: []int{100_000}, gain: 0.1, mean: 1}}, "v")
	require.InDelta(t, math.Sqrt(1.01), rms(vector), 1e-3)
}

// hugging gives a tensor the name that it has in Hugging Face's conversion.
func hugging(name string) string {
	name = strings.NewReplacer(".ln_", ".layer_norm_", "prior.x_emb.", "prior.embed_tokens.", "y_emb.bow_genre_emb.emb.", "metadata_embedding.bow_genre_emb.",
		"y_emb.artist_emb.emb.", "metadata_embedding.artist_emb.", "y_emb.", "metadata_embedding.", ".level_blocks.2.k", ".level_blocks.2.codebook").Replace(name)
	if stem, ok := strings.CutSuffix(name, ".w"); ok {
		name = stem + ".weight"
	}
	if stem, ok := strings.CutSuffix(name, ".b"); ok {
		name = stem + ".bias"
	}
	var block, stage, half, unit, conv int
	var rest string
	if n, _ := fmt.Sscanf(name, "encoders.2.level_blocks.%d.model.%d.%d.model.%d.model.%d.%s", &block, &stage, &half, &unit, &conv, &rest); n == 6 {
		return fmt.Sprintf("vqvae.encoders.2.level_blocks.%d.downsample_block.%d.resnet_block.%d.conv1d_%d.%s", block, 2*stage+half, unit, conv/2+1, rest)
	}
	if n, _ := fmt.Sscanf(name, "encoders.2.level_blocks.%d.model.%d.%d.%s", &block, &stage, &half, &rest); n == 4 {
		return fmt.Sprintf("vqvae.encoders.2.level_blocks.%d.downsample_block.%d.%s", block, 2*stage+half, rest)
	}
	if n, _ := fmt.Sscanf(name, "encoders.2.level_blocks.%d.model.%d.%s", &block, &stage, &rest); n == 3 {
		return fmt.Sprintf("vqvae.encoders.2.level_blocks.%d.proj_out.%s", block, rest)
	}
	if strings.HasPrefix(name, "bottleneck.") {
		return "vqvae." + name
	}
	return "priors.0." + name
}

// TestHuggingFaceFilesGiveTheSameBundle: one file for both parts, other names, matrices as wide as that library keeps them.
func TestHuggingFaceFilesGiveTheSameBundle(t *testing.T) {
	t.Parallel()
	original, copied := t.TempDir(), t.TempDir()
	want, err := Random(t.Context(), RandomConfig{Preset: "tiny", Seed: 9, Out: original}, func(int64, int64) {})
	require.NoError(t, err)
	weights, err := model.OpenSafetensors(filepath.Join(original, File))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, weights.Close()) })
	var tensors []model.Tensor
	for _, name := range weights.Names() {
		info, _ := weights.Info(name)
		values, err := weights.F32(name)
		require.NoError(t, err)
		tensors = append(tensors, model.Tensor{Name: hugging(name), DType: "F32", Shape: info.Shape, Data: values})
	}
	path := filepath.Join(t.TempDir(), "model.safetensors")
	require.NoError(t, model.WriteSafetensors(path, tensors))
	cfg := ImportConfig{VQVAE: path, Prior: path, Layers: 6, Heads: 2, Blocks: 128, Out: copied}
	got, err := Import(t.Context(), cfg, func(int64, int64) {})
	require.NoError(t, err)
	require.Equal(t, want.Encoder.SHA256, got.Encoder.SHA256)

	for i := range tensors {
		if strings.HasSuffix(tensors[i].Name, "_attn_mods.3.mlp.c_fc.weight") {
			tensors[i].Data[70] = 1.0001
		}
	}
	require.NoError(t, model.WriteSafetensors(path, tensors))
	cfg.Out = t.TempDir()
	_, err = Import(t.Context(), cfg, func(int64, int64) {})
	require.ErrorContains(t, err, `_attn_mods.3.mlp.c_fc.w": the value 1.0001 needs more than the 16 bits`)
}

func TestConfigurationsAreReadBackAndChecked(t *testing.T) {
	t.Parallel()
	c, err := preset("5b")
	require.NoError(t, err)
	back, err := Parse(c.values())
	require.NoError(t, err)
	require.Equal(t, c, back)
	m := c.manifest("", false)
	require.Equal(t, "jukebox-5b", m.Name)
	values := c.values()
	values["heads"], values["colour"] = "eight", 1
	_, err = Parse(values)
	require.ErrorContains(t, err, "heads")
	require.ErrorContains(t, err, "colour")
	_, err = Parse(map[string]any{})
	require.ErrorContains(t, err, "width 0")
}

// TestSizeOfThePublishedShape: 36 layers of the prior have 2,489,659,200 values.
func TestSizeOfThePublishedShape(t *testing.T) {
	t.Parallel()
	c, err := preset("5b")
	require.NoError(t, err)
	layers, encoder := int64(0), int64(0)
	for _, spec := range c.Tensors() {
		switch {
		case strings.Contains(spec.Name, "_attn_mods."):
			layers += spec.elements()
		case strings.HasPrefix(spec.Name, "encoders."):
			encoder += spec.elements()
		}
	}
	require.Equal(t, int64(2_489_659_200), layers)
	require.Equal(t, int64(168_224), encoder)
}

func TestEncodeIsLittleEndian(t *testing.T) {
	t.Parallel()
	raw := encode([]float32{1, -2}, "F32")
	require.Equal(t, uint32(0x3f800000), binary.LittleEndian.Uint32(raw))
	require.Equal(t, []byte{0, 0x3c, 0, 0xc0}, encode([]float32{1, -2}, "F16"))
	require.NoError(t, dice{}.write(t.Context(), Tensor{Shape: []int{0}}, io.Discard))
}

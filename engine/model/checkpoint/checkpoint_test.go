package checkpoint

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
)

func golden(name string) string { return filepath.Join("..", "testdata", "jukebox", name) }

func open(tb testing.TB, path string) *File {
	tb.Helper()
	f, err := Open(path)
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, f.Close()) })
	return f
}

// same demands that two checkpoints hold equal tensors, and returns how many.
func same(t *testing.T, a, b *File) int {
	t.Helper()
	require.Equal(t, a.Tensors(), b.Tensors())
	for _, info := range a.Tensors() {
		require.Equal(t, content(t, a, info.Name), content(t, b, info.Name), info.Name)
	}
	return len(a.Tensors())
}

func content(t *testing.T, f *File, name string) []byte {
	t.Helper()
	var all []byte
	require.NoError(t, f.Read(t.Context(), name, func(piece []byte) error {
		all = append(all, piece...)
		return nil
	}))
	return all
}

func TestTheFixturesAreThePublishedOnes(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]string{
		"vqvae.pth.tar":         "09d1575305df537cf3e901f394f65938b5ffe5122fe5da2a6319ad5b1924c8b1",
		"vqvae.zip.pth.tar":     "e693596c8fdd5c94697fdf075aea3caf6c84586d4b646cb7d9ff7fe5fe0f5528",
		"prior_level_2.pth.tar": "8ee5efc2480aad5863819fa65dafa3a649443b79c2c3069430d2626b34da7658",
	} {
		got, err := model.FileDigest(golden(name))
		require.NoError(t, err)
		require.Equal(t, want, got, name)
	}
}

func TestBothLayoutsOfPyTorchHoldTheSame(t *testing.T) {
	t.Parallel()
	require.Greater(t, same(t, open(t, golden("vqvae.pth.tar")), open(t, golden("vqvae.zip.pth.tar"))), 132)
}

func TestAnOffsetInAStorageIsHonoured(t *testing.T) {
	t.Parallel()
	f := open(t, golden("vqvae.pth.tar"))
	book := f.tensors["bottleneck.level_blocks.2.k"]
	require.Equal(t, int64(448), book.offset)
	require.Equal(t, []int{2048, 64}, book.shape)
	raw, err := os.ReadFile(golden("vqvae.pth.tar"))
	require.NoError(t, err)
	want := raw[book.storage.offset+4*448:][:4*2048*64]
	require.Equal(t, want, content(t, f, "bottleneck.level_blocks.2.k"))
	sum := sha256.Sum256(want)
	require.Equal(t, "cd4cff315c0a37ed36067461f1e02baa77578e0d022078870e5499403fb9705a", hex.EncodeToString(sum[:]))
}

func TestThePriorAsZip(t *testing.T) {
	t.Parallel()
	prior := open(t, golden("prior_level_2.pth.tar"))
	info, ok := prior.Info("prior.transformer._attn_mods.8.attn.c_attn.w")
	require.True(t, ok)
	require.Equal(t, Info{Name: info.Name, DType: "F16", Shape: []int{64, 48}}, info)
	again := saved{wrap: "model"}
	for i, info := range prior.Tensors() {
		class := map[string]string{"F16": "HalfStorage", "F32": "FloatStorage"}[info.DType]
		again.storages = append(again.storages, storageData{key: number(i), class: class, data: content(t, prior, info.Name)})
		v := view{name: "module." + info.Name, key: number(i), shape: info.Shape}
		for _, stride := range rowMajor(info.Shape) {
			v.strides = append(v.strides, int(stride))
		}
		again.views = append(again.views, v)
	}
	zipped, err := load(again.zipped(t, zip.Store))
	require.NoError(t, err)
	require.Equal(t, 5+2+1+9*12, same(t, prior, zipped))
}

func TestViewsAreReadRowMajor(t *testing.T) {
	t.Parallel()
	for layout, raw := range map[string][]byte{"legacy": sample().legacy(), "zip": sample().zipped(t, zip.Store)} {
		f, err := load(raw)
		require.NoError(t, err, layout)
		for name, want := range map[string][]float32{
			"rows": {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}, "columns": {0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11},
			"tail": {7, 8, 9, 10, 11}, "scalar": {11}, "empty": {}, "half": {1, -2},
		} {
			got, err := f.F32(t.Context(), name)
			require.NoError(t, err)
			require.Equal(t, want, got, "%s of %s", name, layout)
		}
		_, err = f.F32(t.Context(), "counter")
		require.ErrorContains(t, err, "elements of I64")
		require.Len(t, content(t, f, "counter"), 16)
		_, err = f.F32(t.Context(), "gone")
		require.ErrorContains(t, err, `no tensor "gone"`)
		require.ErrorContains(t, f.Read(t.Context(), "gone", nil), `no tensor "gone"`)
	}
}

func TestTheStateMayBeTheTopLevel(t *testing.T) {
	t.Parallel()
	s := sample()
	s.wrap = ""
	f, err := load(s.legacy())
	require.NoError(t, err)
	require.Len(t, f.Tensors(), 7)
	s.wrap = "other"
	f, err = load(s.legacy())
	require.NoError(t, err)
	require.Empty(t, f.Tensors(), "a dictionary that is not the model is ignored")
}

func TestALargeTensorComesInPieces(t *testing.T) {
	t.Parallel()
	const n = 700_001
	data := bytes.Repeat([]byte{0, 0, 128, 63}, n)
	s := saved{storages: []storageData{{key: "a", class: "FloatStorage", data: data}}, views: []view{
		{name: "row", key: "a", shape: []int{n}, strides: []int{1}}, {name: "odd", key: "a", shape: []int{n / 2}, strides: []int{2}},
	}}
	f, err := load(s.legacy())
	require.NoError(t, err)
	for name, want := range map[string]int{"row": 4 * n, "odd": 4 * (n / 2)} {
		total, calls := 0, 0
		require.NoError(t, f.Read(t.Context(), name, func(piece []byte) error {
			require.LessOrEqual(t, len(piece), chunkBytes)
			total, calls = total+len(piece), calls+1
			return nil
		}))
		require.Equal(t, want, total)
		require.Greater(t, calls, 1)
		ctx, cancel := context.WithCancel(t.Context())
		require.ErrorIs(t, f.Read(ctx, name, func([]byte) error { cancel(); return nil }), context.Canceled, name)
		require.ErrorIs(t, f.Read(t.Context(), name, func([]byte) error { return os.ErrClosed }), os.ErrClosed, name)
	}
}

func TestHuggingFaceNames(t *testing.T) {
	t.Parallel()
	for hf, want := range map[string]string{
		"vqvae.encoders.2.level_blocks.0.downsample_block.4.weight":                         "encoders.2.level_blocks.0.model.2.0.weight",
		"vqvae.encoders.2.level_blocks.1.downsample_block.3.resnet_block.2.conv1d_1.bias":   "encoders.2.level_blocks.1.model.1.1.model.2.model.1.bias",
		"vqvae.encoders.2.level_blocks.1.downsample_block.1.resnet_block.0.conv1d_2.weight": "encoders.2.level_blocks.1.model.0.1.model.0.model.3.weight",
		"vqvae.encoders.2.level_blocks.0.proj_out.weight":                                   "encoders.2.level_blocks.0.model.3.weight",
		"vqvae.encoders.2.level_blocks.2.proj_out.bias":                                     "encoders.2.level_blocks.2.model.2.bias",
		"vqvae.bottleneck.level_blocks.2.codebook":                                          "bottleneck.level_blocks.2.k",
		"priors.0.metadata_embedding.artist_emb.weight":                                     "y_emb.artist_emb.emb.weight",
		"priors.0.metadata_embedding.bow_genre_emb.weight":                                  "y_emb.bow_genre_emb.emb.weight",
		"priors.0.metadata_embedding.total_length_emb.emb.weight":                           "y_emb.total_length_emb.emb.weight",
		"priors.0.prior.embed_tokens.weight":                                                "prior.x_emb.weight",
		"priors.0.prior.fc_proj_out.weight":                                                 "prior.x_out.weight",
		"priors.0.prior.pos_emb.pos_emb":                                                    "prior.pos_emb.pos_emb",
		"prior.transformer._attn_mods.7.attn.c_attn.weight":                                 "prior.transformer._attn_mods.7.attn.c_attn.w",
		"prior.transformer._attn_mods.7.mlp.c_proj.bias":                                    "prior.transformer._attn_mods.7.mlp.c_proj.b",
		"prior.transformer._attn_mods.7.layer_norm_1.bias":                                  "prior.transformer._attn_mods.7.ln_1.bias",
		"encoders.2.level_blocks.9.proj_out.bias":                                           "encoders.2.level_blocks.9.proj_out.bias",
		"priors.1.prior.embed_tokens.weight":                                                "priors.1.prior.x_emb.weight",
	} {
		require.Equal(t, want, canonical(hf))
	}
	for _, file := range []string{"vqvae.pth.tar", "prior_level_2.pth.tar"} {
		for _, info := range open(t, golden(file)).Tensors() {
			require.Equal(t, info.Name, canonical(info.Name), "the original's own names stay")
		}
	}
}

func TestSafetensorsBehindTheSameInterface(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "hf.safetensors")
	values := []float32{1, 2, 3, 4, 5, 6}
	require.NoError(t, model.WriteSafetensors(path, []model.Tensor{
		{Name: "vqvae.bottleneck.level_blocks.2.codebook", DType: "F32", Shape: []int{2, 3}, Data: values},
		{Name: "priors.0.prior.transformer._attn_mods.0.mlp.c_fc.weight", DType: "F16", Shape: []int{3, 2}, Data: values},
	}))
	f := open(t, path)
	require.Equal(t, []Info{
		{"bottleneck.level_blocks.2.k", "F32", []int{2, 3}}, {"prior.transformer._attn_mods.0.mlp.c_fc.w", "F16", []int{3, 2}},
	}, f.Tensors())
	for _, info := range f.Tensors() {
		got, err := f.F32(t.Context(), info.Name)
		require.NoError(t, err)
		require.Equal(t, values, got)
	}
	require.NoError(t, model.WriteSafetensors(path, []model.Tensor{
		{Name: "module.x", DType: "F32", Shape: []int{1}, Data: values[:1]},
		{Name: "vqvae.module.x", DType: "F32", Shape: []int{1}, Data: values[:1]},
		{Name: "vqvae.a", DType: "F32", Shape: []int{1}, Data: values[:1]},
		{Name: "a", DType: "F32", Shape: []int{1}, Data: values[:1]},
	}))
	_, err := Open(path)
	require.ErrorContains(t, err, "occurs twice")
}

func TestOpeningNamesTheFile(t *testing.T) {
	t.Parallel()
	_, err := Open(filepath.Join(t.TempDir(), "gone.pth.tar"))
	require.ErrorIs(t, err, os.ErrNotExist)
	require.ErrorContains(t, err, "gone.pth.tar")
	path := filepath.Join(t.TempDir(), "page.html")
	require.NoError(t, os.WriteFile(path, []byte(strings.Repeat("<html>not found</html>", 9)), 0o600))
	_, err = Open(path)
	require.ErrorContains(t, err, "page.html: it is neither a PyTorch checkpoint")
}

package jukeboxbundle_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/checkpoint"
	"github.com/larkstream/larkstream/engine/model/jukeboxbundle"
)

func quiet(int64, int64) {}

// small is the configuration of the checkpoints in testdata.
func small(tb testing.TB) jukeboxbundle.ImportConfig {
	tb.Helper()
	return jukeboxbundle.ImportConfig{
		VQVAE: filepath.Join("..", "testdata", "jukebox", "vqvae.pth.tar"), Prior: filepath.Join("..", "testdata", "jukebox", "prior_level_2.pth.tar"),
		Layers: 6, Heads: 2, Blocks: 128, Out: tb.TempDir(),
	}
}

func TestImportedBundleHoldsTheCheckpointsTensors(t *testing.T) {
	t.Parallel()
	cfg := small(t)
	var done, total int64
	m, err := jukeboxbundle.Import(t.Context(), cfg, func(d, n int64) { done, total = d, n })
	require.NoError(t, err)
	require.Equal(t, total, done)

	b, err := model.Load(cfg.Out)
	require.NoError(t, err)
	require.Equal(t, m, b.Manifest)
	require.Equal(t, "jukebox-64", b.EncoderID)
	require.False(t, b.Random)
	require.InDelta(t, 10.1333, b.Encoder.FrameRateHz, 1e-4)
	require.InDelta(t, 1048576, b.Encoder.SpanS*44100, 1e-6)
	c, err := jukeboxbundle.Parse(b.Encoder.Config)
	require.NoError(t, err)
	require.Equal(t, jukeboxbundle.Config{
		Layers: 6, Heads: 2, Blocks: 128, Context: 8192, Width: 64, State: 16, MLP: 64,
		Bins: 2048, CodeWidth: 64, ConvWidth: 32, Genres: 120, Artists: 4111,
	}, c)

	weights, err := model.OpenSafetensors(b.EncoderPath())
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, weights.Close()) })
	require.Len(t, weights.Names(), 132+1+5+2+6*12)
	for _, path := range []string{cfg.VQVAE, cfg.Prior} {
		file, err := checkpoint.Open(path)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, file.Close()) })
		for _, info := range file.Tensors() {
			got, ok := weights.Info(info.Name)
			if !ok {
				continue
			}
			require.Equal(t, info.DType, got.DType, info.Name)
			want, err := file.F32(t.Context(), info.Name)
			require.NoError(t, err)
			values, err := weights.F32(info.Name, info.Shape...)
			require.NoError(t, err)
			require.Equal(t, want, values, info.Name)
		}
	}
}

func TestRandomBundlesAreRepeatable(t *testing.T) {
	t.Parallel()
	made := map[uint64]string{}
	for _, seed := range []uint64{1, 2} {
		cfg := jukeboxbundle.RandomConfig{Preset: "tiny", Seed: seed, Out: t.TempDir()}
		m, err := jukeboxbundle.Random(t.Context(), cfg, quiet)
		require.NoError(t, err)
		made[seed] = m.Encoder.SHA256
		cfg.Out = t.TempDir()
		again, err := jukeboxbundle.Random(t.Context(), cfg, quiet)
		require.NoError(t, err)
		require.Equal(t, m, again)
		b, err := model.Load(cfg.Out)
		require.NoError(t, err)
		require.Contains(t, b.DisplayName(), "random")
	}
	require.NotEqual(t, made[1], made[2])
	_, err := jukeboxbundle.Random(t.Context(), jukeboxbundle.RandomConfig{Preset: "6b", Out: t.TempDir()}, quiet)
	require.ErrorContains(t, err, "known are [5b tiny]")
}

func TestInterruptedImportContinues(t *testing.T) {
	t.Parallel()
	cfg := small(t)
	ctx, cancel := context.WithCancel(t.Context())
	_, err := jukeboxbundle.Import(ctx, cfg, func(done, total int64) {
		if done > total/2 {
			cancel()
		}
	})
	require.ErrorIs(t, err, context.Canceled)
	partial := filepath.Join(cfg.Out, jukeboxbundle.File+model.PartialSuffix)
	require.FileExists(t, partial)
	require.NoFileExists(t, filepath.Join(cfg.Out, model.ManifestFile))

	raw, err := os.ReadFile(partial)
	require.NoError(t, err)
	raw[len(raw)/3] ^= 0xff // what a crash may leave
	require.NoError(t, os.WriteFile(partial, append(raw, make([]byte, 8<<20)...), 0o600))
	m, err := jukeboxbundle.Import(t.Context(), cfg, quiet)
	require.NoError(t, err)
	require.NoFileExists(t, partial)

	fresh := small(t)
	want, err := jukeboxbundle.Import(t.Context(), fresh, quiet)
	require.NoError(t, err)
	require.Equal(t, want.Encoder.SHA256, m.Encoder.SHA256)
	_, err = model.Load(cfg.Out)
	require.NoError(t, err)
	_, err = jukeboxbundle.Import(t.Context(), cfg, quiet)
	require.ErrorContains(t, err, "holds a bundle already")
}

func TestFlagsThatDoNotFitAreNamed(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(*jukeboxbundle.ImportConfig){
		"_attn_mods.9.attn.c_attn.w":        func(c *jukeboxbundle.ImportConfig) { c.Layers = 36 },
		"3 heads do not divide":             func(c *jukeboxbundle.ImportConfig) { c.Heads = 3 },
		"100 blocks do not divide":          func(c *jukeboxbundle.ImportConfig) { c.Blocks = 100 },
		"layers 0 is not within":            func(c *jukeboxbundle.ImportConfig) { c.Layers = 0 },
		"blocks -1 is not within":           func(c *jukeboxbundle.ImportConfig) { c.Blocks = -1 },
		`no tensor "prior.pos_emb.pos_emb"`: func(c *jukeboxbundle.ImportConfig) { c.Prior = c.VQVAE },
	} {
		cfg := small(t)
		change(&cfg)
		_, err := jukeboxbundle.Import(t.Context(), cfg, quiet)
		require.ErrorContains(t, err, want)
		require.NoFileExists(t, filepath.Join(cfg.Out, model.ManifestFile))
	}
}

// TestDifferentHeadsGiveDifferentDigests: shapes do not tell the heads, but embeddings depend on them.
func TestDifferentHeadsGiveDifferentDigests(t *testing.T) {
	t.Parallel()
	first, second := small(t), small(t)
	second.Heads = 4
	a, err := jukeboxbundle.Import(t.Context(), first, quiet)
	require.NoError(t, err)
	b, err := jukeboxbundle.Import(t.Context(), second, quiet)
	require.NoError(t, err)
	require.NotEqual(t, a.Encoder.SHA256, b.Encoder.SHA256)
}

func TestAValueThatIsNotFiniteIsNamed(t *testing.T) {
	t.Parallel()
	cfg := small(t)
	raw, err := os.ReadFile(cfg.Prior)
	require.NoError(t, err)
	file, err := checkpoint.Open(cfg.Prior)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, file.Close()) })
	values, err := file.F32(t.Context(), "prior.x_emb.weight")
	require.NoError(t, err)
	mark := binary.LittleEndian.AppendUint32(nil, math.Float32bits(values[77]))
	mark = binary.LittleEndian.AppendUint32(mark, math.Float32bits(values[78]))
	at := bytes.Index(raw, mark)
	require.Positive(t, at)
	binary.LittleEndian.PutUint32(raw[at:], math.Float32bits(float32(math.NaN())))
	cfg.Prior = filepath.Join(t.TempDir(), "prior")
	require.NoError(t, os.WriteFile(cfg.Prior, raw, 0o600))
	_, err = jukeboxbundle.Import(t.Context(), cfg, quiet)
	require.ErrorContains(t, err, `"prior.x_emb.weight": the value NaN`)
}

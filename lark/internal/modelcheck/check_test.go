package modelcheck_test

import (
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/model/jukeboxbundle"
	"github.com/larkstream/larkstream/engine/model/llamabundle"
	"github.com/larkstream/larkstream/engine/native/nativetest"
	"github.com/larkstream/larkstream/lark/internal/modelcheck"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func quiet(int64, int64) {}

func audioModel(t *testing.T, family string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), family)
	_, err := audiobundle.Random(t.Context(), audiobundle.RandomConfig{Preset: "tiny", Family: family, Seed: 1, Quant: "q8_0", EncoderQuant: "bf16", Out: dir}, quiet)
	require.NoError(t, err)
	return dir
}

// states are the results by check.
func states(r modelcheck.Report) map[string]string {
	by := map[string]string{}
	for _, f := range r.Findings {
		by[f.Check] = f.State
	}
	return by
}

func requireHealthy(t *testing.T, dir, native string, checks ...string) modelcheck.Report {
	t.Helper()
	r, err := modelcheck.Run(t.Context(), modelcheck.Config{Dir: dir, NativeDir: native, Available: 1 << 50})
	require.NoError(t, err)
	require.True(t, r.Healthy, "%+v", r.Findings)
	want := map[string]string{}
	for _, check := range checks {
		want[check] = modelcheck.OK
	}
	require.Equal(t, want, states(r))
	require.Greater(t, r.Speed.DistanceShare, 0.01)
	require.Positive(t, r.Speed.EncodeS)
	require.Greater(t, r.Memory.Needed, r.Memory.Encoder)
	return r
}

func TestEveryAudioFamilyPasses(t *testing.T) {
	t.Parallel()
	native := nativetest.Dir(t)
	for _, family := range audiobundle.FamilyNames() {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			r := requireHealthy(t, audioModel(t, family), native, "memory", "files", "encoder", "hears", "projector", "decoder", "machine")
			require.InDelta(t, 30, r.Speed.WindowS, 0.01)
			require.Greater(t, r.Speed.PromptTokens, 700)
			require.Positive(t, r.Memory.Decoder)
		})
	}
}

func TestLlamaPasses(t *testing.T) {
	t.Parallel()
	native := nativetest.Dir(t)
	dir := filepath.Join(t.TempDir(), "llama")
	_, err := llamabundle.Random(t.Context(), llamabundle.RandomConfig{Preset: "tiny", Seed: 1, Quant: "q8_0", Out: dir}, quiet)
	require.NoError(t, err)
	requireHealthy(t, dir, native, "memory", "files", "encoder", "hears", "projector", "decoder", "machine")
}

func TestNanoPasses(t *testing.T) {
	t.Parallel()
	r := requireHealthy(t, filepath.Join("..", "..", "..", "models", "lark-nano"), "", "memory", "files", "encoder", "hears", "projector", "decoder", "machine")
	require.Positive(t, r.Speed.TokensPerS)
}

func TestAnEncoderAlonePasses(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "jukebox")
	_, err := jukeboxbundle.Random(t.Context(), jukeboxbundle.RandomConfig{Preset: "tiny", Seed: 1, Out: dir}, quiet)
	require.NoError(t, err)
	r := requireHealthy(t, dir, "", "memory", "files", "encoder", "hears", "decoder", "machine")
	require.Zero(t, r.Memory.Decoder)
}

// A machine that is too small is told so before any weights are read, damaged ones included.
func TestAModelThatDoesNotFitIsNotLoaded(t *testing.T) {
	t.Parallel()
	dir := audioModel(t, "qwen2.5-omni")
	r, err := modelcheck.Run(t.Context(), modelcheck.Config{
		Dir: dir, Available: 1 << 20, Progress: func(int64, int64) { require.Fail(t, "weights are read") },
	})
	require.NoError(t, err)
	require.False(t, r.Healthy)
	require.Equal(t, map[string]string{"memory": modelcheck.Fail}, states(r))
	require.Contains(t, r.Findings[0].Detail, "1.0 MB available")
	require.Contains(t, r.Findings[0].Remedy, "more memory")
}

func TestDamageIsFoundBeforeLoading(t *testing.T) {
	t.Parallel()
	dir := audioModel(t, "qwen2-audio")
	b, err := model.Read(dir)
	require.NoError(t, err)
	raw, err := os.ReadFile(b.EncoderPath())
	require.NoError(t, err)
	raw[len(raw)-1] ^= 1
	require.NoError(t, os.WriteFile(b.EncoderPath(), raw, 0o600))
	r, err := modelcheck.Run(t.Context(), modelcheck.Config{Dir: dir})
	require.NoError(t, err)
	require.False(t, r.Healthy)
	require.Equal(t, map[string]string{"memory": modelcheck.Warn, "stopped": modelcheck.Fail}, states(r))
	require.Contains(t, r.Findings[1].Detail, "damaged")

	_, err = modelcheck.Run(t.Context(), modelcheck.Config{Dir: t.TempDir()})
	require.ErrorIs(t, err, os.ErrNotExist)
}

// An encoder of zeros hears nothing: all frames are alike.
func TestAnEncoderThatTellsNothingApartFails(t *testing.T) {
	t.Parallel()
	r, err := modelcheck.Run(t.Context(), modelcheck.Config{Dir: deafModel(t)})
	require.NoError(t, err)
	require.Equal(t, modelcheck.Fail, states(r)["hears"], "%+v", r.Findings)
}

// deafModel is lark-nano with an encoder of zeros, whose digest is right.
func deafModel(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	require.NoError(t, os.CopyFS(dir, os.DirFS(filepath.Join("..", "..", "..", "models", "lark-nano"))))
	b, err := model.Read(dir)
	require.NoError(t, err)
	raw, err := os.ReadFile(b.EncoderPath())
	require.NoError(t, err)
	clear(raw[8+binary.LittleEndian.Uint64(raw):])
	require.NoError(t, os.WriteFile(b.EncoderPath(), raw, 0o600))
	require.NoError(t, b.Seal(dir))
	return dir
}

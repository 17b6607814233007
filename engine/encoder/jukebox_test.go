package encoder

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/encoder/jukebox/jukeboxtest"
	"github.com/larkstream/larkstream/engine/model"
)

func tone(samples int) []int16 {
	pcm := make([]int16, samples)
	for i := range pcm {
		pcm[i] = int16(8000 * math.Sin(float64(i)/15))
	}
	return pcm
}

func TestJukeboxEngine(t *testing.T) {
	t.Parallel()
	e, err := openDir(t, jukeboxtest.Bundle(t), Options{})
	require.NoError(t, err)
	frames, err := e.Encode(t.Context(), tone(44100))
	require.NoError(t, err)
	require.Equal(t, []int{10, 48, 10 * 48}, []int{frames.Rows, frames.Cols, len(frames.Data)}, "44100 samples are 344 codes")
	frames, err = e.Encode(t.Context(), tone(200_000))
	require.NoError(t, err)
	require.Equal(t, 30, frames.Rows, "what lies beyond 1024 codes is not heard")
	_, err = e.Encode(t.Context(), tone(4351))
	require.ErrorIs(t, err, ErrTooShort)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = e.Encode(ctx, tone(44100))
	require.ErrorIs(t, err, context.Canceled)
	codes, err := e.(*JukeboxEncoder).Codes(t.Context(), tone(44100))
	require.NoError(t, err)
	require.Len(t, codes, 1024)
	require.NoError(t, e.Close())
}

func TestConfigurationChoosesThePrecision(t *testing.T) {
	t.Parallel()
	dir := jukeboxtest.Bundle(t)
	frames := map[string][]float32{}
	for _, precision := range []string{"", "f32", "bf16x2", "bf16"} {
		e, err := openAt(t, dir, precision)
		require.NoError(t, err)
		out, err := e.Encode(t.Context(), tone(44100))
		require.NoError(t, err)
		frames[precision] = out.Data
		require.NoError(t, e.Close())
	}
	require.Equal(t, frames[""], frames["f32"], "the bundle's")
	require.NotEqual(t, frames["f32"], frames["bf16"])
	require.NotEqual(t, frames["f32"], frames["bf16x2"])
	require.InDeltaSlice(t, frames["f32"], frames["bf16x2"], 1e-4)
	_, err := openAt(t, nanoBundle, "bf16")
	require.ErrorContains(t, err, `engine "nano" has f32 only`)
}

func TestBundlesThatTheJukeboxEngineRefuses(t *testing.T) {
	t.Parallel()
	for want, change := range map[string]func(m *model.Manifest){
		`precision "fp8" is not one of [f32 bf16x2 bf16]`:       func(m *model.Manifest) { m.Encoder.Precision = "fp8" },
		`says width 50, its encoder has 48`:                     func(m *model.Manifest) { m.Encoder.Width = 50 },
		`"prior.transformer._attn_mods.3.ln_0.weight"`:          func(m *model.Manifest) { m.Encoder.Config["layers"] = 4 },
		`is F16 [48 40], where F16 [48 41] is expected`:         func(m *model.Manifest) { m.Encoder.Config["mlp"] = 41 },
		`5 heads do not divide an attention state of 12`:        func(m *model.Manifest) { m.Encoder.Config["heads"] = 5 },
		`encoder.config.n_ctx: many is unknown or no integer`:   func(m *model.Manifest) { m.Encoder.Config["n_ctx"] = "many" },
		`"bottleneck.level_blocks.2.k" is F32 [64 64], where F`: func(m *model.Manifest) { m.Encoder.Config["bins"] = 63 },
	} {
		dir := jukeboxtest.Bundle(t)
		b, err := model.Load(dir)
		require.NoError(t, err)
		change(&b.Manifest)
		require.NoError(t, b.Write(dir))
		_, err = openDir(t, dir, Options{})
		require.ErrorContains(t, err, want)
	}
	b, err := model.Read(nanoBundle)
	require.NoError(t, err)
	_, err = OpenJukebox(b, JukeboxOptions{})
	require.ErrorContains(t, err, `engine "nano", not jukebox`)
}

func TestWeightsInUseAreNotFreed(t *testing.T) {
	t.Parallel()
	b, err := model.Load(jukeboxtest.Bundle(t))
	require.NoError(t, err)
	begun, goOn := make(chan struct{}, 1), make(chan struct{})
	j, err := OpenJukebox(b, JukeboxOptions{Mark: func(JukeboxPart) {
		select {
		case begun <- struct{}{}:
			<-goOn
		default:
		}
	}})
	require.NoError(t, err)
	ended := make(chan error)
	go func() {
		_, err := j.Encode(t.Context(), tone(5000))
		ended <- err
	}()
	<-begun
	require.ErrorContains(t, j.Close(), "still being encoded")
	begun <- struct{}{} // no later mark waits
	close(goOn)
	require.NoError(t, <-ended)
	require.NoError(t, j.Close())
}

package nano

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/encoder/features"
	"github.com/larkstream/larkstream/engine/model"
)

// bundle is the bundle in the repository, or one that the trainer has just made (training/smoke.sh).
var bundle = cmp.Or(os.Getenv("LARK_NANO_BUNDLE"), "../../../models/lark-nano")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func load(t *testing.T) *Encoder {
	t.Helper()
	e, err := Load(bundle)
	require.NoError(t, err)
	return e
}

// chirp returns a rising tone that starts anew twice a second.
func chirp(samples int) []int16 {
	pcm := make([]int16, samples)
	for i := range pcm {
		at := float64(i%(features.SampleRate/2)) / features.SampleRate
		pcm[i] = int16(20000 * math.Exp(-4*at) * math.Sin(2*math.Pi*(220+400*at)*at))
	}
	return pcm
}

func TestFramesAgreeWithTheTrainer(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(filepath.Join(bundle, "golden", "golden.json"))
	require.NoError(t, err)
	var index struct {
		Encoder []struct{ Frames, Windows int }
	}
	require.NoError(t, json.Unmarshal(raw, &index))
	require.NotEmpty(t, index.Encoder)
	golden, err := model.OpenSafetensors(filepath.Join(bundle, "golden", "golden.safetensors"))
	require.NoError(t, err)
	defer func() { require.NoError(t, golden.Close()) }()
	e := load(t)
	for i, c := range index.Encoder {
		read := func(name string, shape ...int) []float32 {
			v, err := golden.F32(fmt.Sprintf("encoder.%d.%s", i, name), shape...)
			require.NoError(t, err)
			return v
		}
		given := &features.Features{
			Semitones:  features.Matrix{Rows: c.Frames, Cols: features.Semitones, Data: read("semitones", c.Frames, features.Semitones)},
			Mel:        features.Matrix{Rows: c.Frames, Cols: features.MelCols, Data: read("mel", c.Frames, features.MelCols)},
			Tempograms: features.Matrix{Rows: c.Windows * features.Lags, Cols: features.Groups, Data: read("tempogram", c.Windows, features.Lags, features.Groups)},
		}
		if e.beatBias != nil {
			given.Pulse = features.Matrix{Rows: features.PulseLags, Cols: features.PulseCols, Data: read("pulse", features.PulseLags, features.PulseCols)}
		}
		if e.hearing {
			given.Keys = features.Matrix{Rows: pitchClasses, Cols: features.KeyCols, Data: read("keys", pitchClasses, features.KeyCols)}
			given.Beats = read("beats", features.PulseLags)
		}
		got, err := e.forward(t.Context(), given)
		require.NoError(t, err)
		require.InDeltaSlice(t, read("frames", c.Frames, Width), got, 1e-3)
	}
}

func TestEncodeGivesFramesForEveryLength(t *testing.T) {
	t.Parallel()
	e := load(t)
	for _, samples := range []int{features.MinSamples, 2*features.SampleRate + 1, features.MaxSamples} {
		frames, n, width, err := e.Encode(t.Context(), chirp(samples))
		require.NoError(t, err)
		require.Equal(t, features.Frames(samples), n)
		require.Equal(t, Width, width)
		require.Len(t, frames, n*width)
	}
}

func TestEncodeTellsWindowsApartAndRepeatsItself(t *testing.T) {
	t.Parallel()
	e := load(t)
	one, _, _, err := e.Encode(t.Context(), chirp(3*features.SampleRate))
	require.NoError(t, err)
	silence, _, _, err := e.Encode(t.Context(), make([]int16, 3*features.SampleRate))
	require.NoError(t, err)
	require.NotEqual(t, one, silence)

	var group sync.WaitGroup
	results := make([][]float32, 4)
	for i := range results {
		group.Go(func() { results[i], _, _, _ = e.Encode(context.Background(), chirp(3*features.SampleRate)) })
	}
	group.Wait()
	for _, r := range results {
		require.Equal(t, one, r)
	}
}

func TestEncodeRefusesWhatItCannotRead(t *testing.T) {
	t.Parallel()
	e := load(t)
	_, _, _, err := e.Encode(t.Context(), make([]int16, features.MinSamples-1))
	require.ErrorIs(t, err, features.ErrTooShort)
	_, _, _, err = e.Encode(t.Context(), make([]int16, features.MaxSamples+1))
	require.ErrorIs(t, err, features.ErrTooLong)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, _, _, err = e.Encode(ctx, chirp(features.MinSamples))
	require.ErrorIs(t, err, context.Canceled)
}

func TestForwardStopsWhenCancelled(t *testing.T) {
	t.Parallel()
	e := load(t)
	f, err := e.extractor.Extract(chirp(features.MinSamples))
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = e.forward(ctx, f)
	require.ErrorIs(t, err, context.Canceled)
}

// Bundles of earlier versions still load: without what engine/mir hears, without the pulse, and without colour and families.
func TestEveryVersionLoadsAndEncodes(t *testing.T) {
	t.Parallel()
	random := rand.New(rand.NewPCG(7, 8))
	draw := func(shape ...int) model.Tensor {
		count := 1
		for _, n := range shape {
			count *= n
		}
		data := make([]float32, count)
		for i := range data {
			data[i] = float32(random.NormFloat64()) * 0.05
		}
		return model.Tensor{DType: "F32", Shape: shape, Data: data}
	}
	for version, parts := range []map[string][2]int{layers0, layers1, merged(layers1, layers2), merged(merged(layers1, layers2), layers3)} {
		var tensors []model.Tensor
		add := func(name string, tensor model.Tensor) {
			tensor.Name = name
			tensors = append(tensors, tensor)
		}
		for name, size := range merged(layers, parts) {
			add(name+".weight", draw(size[1], size[0]))
			add(name+".bias", draw(size[1]))
		}
		add("mix.norm.weight", draw(Width))
		add("mix.out.weight", draw(Width))
		if version >= 2 {
			add("pulse.beat.bias", draw(beats))
		}
		dir := t.TempDir()
		require.NoError(t, model.WriteSafetensors(filepath.Join(dir, File), tensors))
		e, err := Load(dir)
		require.NoError(t, err, "version %d", version)
		_, n, _, err := e.Encode(t.Context(), chirp(2*features.SampleRate))
		require.NoError(t, err, "version %d", version)
		require.Equal(t, features.Frames(2*features.SampleRate), n)
	}
}

func merged(a, b map[string][2]int) map[string][2]int {
	out := maps.Clone(a)
	maps.Copy(out, b)
	return out
}

func TestLoadNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	_, err := Load(t.TempDir())
	require.ErrorIs(t, err, os.ErrNotExist)

	dir := t.TempDir()
	require.NoError(t, model.WriteSafetensors(filepath.Join(dir, File), []model.Tensor{{Name: "mix.norm.weight", DType: "F32", Shape: []int{2}, Data: []float32{1, 1}}}))
	_, err = Load(dir)
	require.ErrorContains(t, err, "loading the encoder")
}

func BenchmarkEncode(b *testing.B) {
	e, err := Load(bundle)
	require.NoError(b, err)
	pcm := chirp(features.MaxSamples)
	for b.Loop() {
		if _, _, _, err := e.Encode(b.Context(), pcm); err != nil {
			b.Fatal(err)
		}
	}
}

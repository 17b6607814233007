package ggmlwhisper

import (
	"cmp"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/encoder/batch"
	"github.com/larkstream/larkstream/engine/encoder/whisper"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/model/audiobundle/audiotest"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/native/ggml"
	"github.com/larkstream/larkstream/engine/native/nativetest"
	"github.com/larkstream/larkstream/engine/tensor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// device is what the tests run on: ggml's processor, or what LARK_TEST_DEVICE names in ggml's terms, such as Vulkan0, of the
// libraries in LARK_NATIVE_DIR.
func device(t *testing.T) (*ggml.Library, ggml.Device) {
	t.Helper()
	l, err := ggml.Open(nativetest.Dir(t), slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	require.NoError(t, err)
	d, err := l.Device(cmp.Or(os.Getenv("LARK_TEST_DEVICE"), "CPU"))
	require.NoError(t, err)
	return l, d
}

func tiny(family string) audiobundle.Config {
	c := audiobundle.Config{Layers: 3, Heads: 5, Width: 80, FFN: 320, Mels: 128, Positions: 1500}
	if family == "qwen2_5_omni" {
		c.Block, c.Positions = 200, 100
	}
	return c
}

func open(t *testing.T, path string, c audiobundle.Config, o Options) *Encoder {
	t.Helper()
	l, d := device(t)
	f, err := gguf.Open(path)
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	done := 0
	o.Threads, o.Progress = 1, func(n, total int) { done = n - total }
	e, err := New(t.Context(), c, f, l, d, o)
	require.NoError(t, err)
	t.Cleanup(e.Close)
	require.Zero(t, done, "all tensors are uploaded")
	return e
}

func golden(t *testing.T, family string, o Options) *Encoder {
	t.Helper()
	return open(t, audiotest.Path(family, "gguf", "mmproj-f16.gguf"), tiny(family), o)
}

// clips are all clips on a processor, and those that a device emulated by a processor runs in seconds.
func (e *Encoder) clips() []string {
	if e.device.Kind == ggml.CPU {
		return audiotest.Clips
	}
	return []string{"short", "silence", "src44k"}
}

// encodeAll encodes a clip as its family does: whole, or in windows.
func encodeAll(t *testing.T, e *Encoder, family, clip string) (frames []float32) {
	t.Helper()
	samples := audiotest.Samples(t, clip)
	if family == "qwen2_audio" {
		samples = samples[:min(len(samples), 480_000)]
	}
	for at := 0; at < len(samples); at += whisper.Padded(e.config) {
		part, err := e.Encode(t.Context(), samples[at:min(at+whisper.Padded(e.config), len(samples))])
		require.NoError(t, err)
		frames = append(frames, part.Data...)
	}
	return frames
}

func TestFramesOfEveryClipAreTheReferences(t *testing.T) { //nolint:paralleltest // one device
	m := audiotest.Load(t)
	for _, family := range audiotest.Families {
		e := golden(t, family, Options{})
		for _, clip := range e.clips() {
			frames := encodeAll(t, e, family, clip)
			require.Len(t, frames, m.Cases[family][clip].Tokens*80, clip)
			audiotest.Near(t, frames, m.Tolerances["enc_pooled"], family, clip, "enc_pooled.npy")
		}
	}
}

// Windows that run together give what each gives alone.
func TestABatchGivesWhatItsWindowsGiveAlone(t *testing.T) { //nolint:paralleltest // one device
	for _, family := range []string{"qwen2_5_omni", "musicflamingo"} {
		e := golden(t, family, Options{Windows: 4})
		require.Equal(t, 4, e.Windows())
		var inputs []input
		for _, clip := range []string{"short", "silence", "src44k", "short"} {
			samples := audiotest.Samples(t, clip)
			mel := whisper.Mel(samples, whisper.Padded(e.config))
			inputs = append(inputs, input{whisper.Chunks(e.config, len(samples), mel.Rows)[0], mel})
		}
		here := func() bool { return false }
		together, err := e.run(inputs, here)
		require.NoError(t, err)
		for i, in := range inputs {
			alone, err := e.run([]input{in}, here)
			require.NoError(t, err)
			require.Len(t, together[i], len(alone[0]))
			for j, v := range alone[0] {
				require.InDelta(t, v, together[i][j], 2e-5, "%s, window %d, value %d", family, i, j)
			}
		}
	}
}

func TestConcurrentWindowsAndCancel(t *testing.T) { //nolint:paralleltest // one device
	e := golden(t, "audioflamingo3", Options{Windows: 2})
	samples := audiotest.Samples(t, "src44k")
	want, err := e.Encode(t.Context(), samples)
	require.NoError(t, err)
	var group sync.WaitGroup
	for range 5 {
		group.Go(func() {
			got, err := e.Encode(t.Context(), samples)
			if err != nil || len(got.Data) != len(want.Data) {
				t.Errorf("%d values, %v", len(got.Data), err)
			}
		})
	}
	group.Wait()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = e.Encode(ctx, samples)
	require.ErrorIs(t, err, context.Canceled)
	_, err = e.Encode(t.Context(), samples[:100])
	require.ErrorIs(t, err, whisper.ErrTooShort)
	e.Close()
	_, err = e.Encode(t.Context(), samples)
	require.ErrorIs(t, err, batch.ErrClosed)
}

// What rounds on purpose stays within a hundredth of the frames (root of the mean square), from files of every type.
func TestFramesInLowPrecisionAreNearTheReferences(t *testing.T) { //nolint:paralleltest // one device
	c := audiobundle.Config{Layers: 2, Heads: 4, Width: 64, FFN: 256, Mels: 128, Positions: 100, Block: 200}
	kinds := []string{"q8_0", "f16", "bf16", "f32"}
	if _, d := device(t); d.Kind != ggml.CPU {
		kinds = kinds[:1] // a device emulated by a processor takes a minute for each
	}
	for _, kind := range kinds {
		path := filepath.Join(t.TempDir(), "encoder.gguf")
		require.NoError(t, audiobundle.RandomEncoder(t.Context(), c, 7, kind, path))
		samples := audiotest.Samples(t, "short")
		exact, err := open(t, path, c, Options{}).Encode(t.Context(), samples)
		require.NoError(t, err)
		rounded, err := open(t, path, c, Options{Precision: tensor.BF16}).Encode(t.Context(), samples)
		require.NoError(t, err)
		difference, sum := 0.0, 0.0
		for i, v := range exact.Data {
			d := float64(v - rounded.Data[i])
			difference, sum = difference+d*d, sum+float64(v)*float64(v)
		}
		require.Less(t, difference/sum, 1e-4, kind)
		t.Logf("%s: %.2g", kind, difference/sum)
	}
}

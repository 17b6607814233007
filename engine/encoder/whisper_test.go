package encoder_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/audiobundle/audiotest"
	"github.com/larkstream/larkstream/engine/native/nativetest"
)

// A bundle's encoder gives the same frames on our kernels and on ggml's.
func TestWhisperOnBothKernels(t *testing.T) {
	t.Parallel()
	b := audiotest.Bundle(t, "qwen2_5_omni", "gguf")
	require.NoError(t, b.SetPrecision("f32"))
	pcm := audiotest.PCM(t)[:49_600]
	open := func(device string) encoder.Engine {
		e, err := encoder.Open(t.Context(), b, encoder.Options{Device: encoder.Device{Name: device, NativeDir: nativetest.Dir(t), Log: slog.New(slog.DiscardHandler)}})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, e.Close()) })
		return e
	}
	want, err := open("").Encode(t.Context(), pcm)
	require.NoError(t, err)
	require.Equal(t, []int{77, 80}, []int{want.Rows, want.Cols})
	got, err := open(encoder.DeviceGGMLCPU).Encode(t.Context(), pcm)
	require.NoError(t, err)
	require.InDeltaSlice(t, want.Data, got.Data, 5e-5)

	_, err = open(encoder.DeviceAuto).Encode(t.Context(), pcm[:320])
	require.ErrorIs(t, err, encoder.ErrTooShort)
	_, err = open("cpu").Encode(t.Context(), make([]int16, 4_800_001))
	require.ErrorIs(t, err, encoder.ErrTooLong)
}

func TestWhisperBundlesThatDoNotFitAreRefused(t *testing.T) {
	t.Parallel()
	for name, spoil := range map[string]func(*model.Bundle){
		"another engine":    func(b *model.Bundle) { b.Encoder.Engine = encoder.Nano },
		"unknown key":       func(b *model.Bundle) { b.Encoder.Config["more"] = 1 },
		"another width":     func(b *model.Bundle) { b.Encoder.Width = 64 },
		"other sample rate": func(b *model.Bundle) { b.Encoder.SampleRate = 44100 },
		"other heads":       func(b *model.Bundle) { b.Encoder.Config["heads"] = 7 },
		"more layers":       func(b *model.Bundle) { b.Encoder.Config["layers"] = 4 },
		"wider":             func(b *model.Bundle) { b.Encoder.Config["ffn"] = 321 },
		"no such precision": func(b *model.Bundle) { b.Encoder.Precision = "f8" },
	} {
		b := audiotest.Bundle(t, "audioflamingo3", "gguf")
		spoil(b)
		_, err := encoder.OpenWhisper(t.Context(), b, encoder.WhisperOptions{})
		require.Error(t, err, name)
		_, err = encoder.OpenWhisperOn(t.Context(), b, encoder.WhisperOptions{}, encoder.Device{Name: "teapot"})
		require.ErrorContains(t, err, "teapot")
	}
}

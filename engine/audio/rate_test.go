package audio

import (
	"bytes"
	"io"
	"math"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model/audiobundle/audiotest"
)

func decoderAt(t *testing.T, rate int) *Decoder {
	t.Helper()
	cfg := DefaultConfig()
	cfg.FFmpeg = "none"
	d, err := NewDecoder(t.Context(), cfg)
	require.NoError(t, err)
	return d.At(rate)
}

// The filter at 160/441 is the one that golden data were made with.
func TestPCMComesAtTheRateAskedFor(t *testing.T) {
	t.Parallel()
	want, _ := audiotest.Array[float32](t, "clips", "short_44k.resampled.npy")
	got, err := decoderAt(t, 16000).DecodeFloats(t.Context(), audiotest.Path("clips", "short_44k.wav"))
	require.NoError(t, err)
	require.Len(t, got, len(want))
	for i, v := range want {
		require.InDelta(t, v, got[i], 1e-6, "sample %d", i)
	}
}

// A file of that rate goes through sample by sample, and times are those of the track.
func TestAFileOfTheRateAskedForIsNotResampled(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(audiotest.Path("clips", "long_16k.wav"))
	require.NoError(t, err)
	var pcm []int16
	info, err := decoderAt(t, 16000).Decode(t.Context(), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(raw)), nil },
		math.MaxInt64, func(block []int16) error {
			pcm = append(pcm, block...)
			return nil
		})
	require.NoError(t, err)
	require.Equal(t, audiotest.PCM(t), pcm)
	require.InDelta(t, float64(len(pcm))/16000, info.Seconds(), 1e-9)

	short := raw[:44+2*16000*10] // the header tells of more than there is
	info, err = decoderAt(t, 16000).Decode(t.Context(), func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(short)), nil },
		math.MaxInt64, func([]int16) error { return nil })
	require.NoError(t, err)
	require.InDelta(t, 10, info.Warnings()[0].AtS, 0.01)
	require.Empty(t, info.Within(0, 9*16000))
	require.Len(t, info.Within(9*16000, 10*16000), 1)
}

func TestPCMIsResampled(t *testing.T) {
	t.Parallel()
	pcm := audiotest.PCM(t)[:16_000]
	require.Equal(t, pcm, Resample(pcm, 16_000, 16_000))
	up := Resample(pcm, 16_000, SampleRate)
	require.Len(t, up, SampleRate)
	back := Resample(up, SampleRate, 16_000)
	var apart, length float64
	for i := 200; i < len(pcm)-200; i++ {
		apart, length = apart+math.Pow(float64(back[i])-float64(pcm[i]), 2), length+math.Pow(float64(pcm[i]), 2)
	}
	require.Less(t, apart, 0.05*length, "only the upper tenth of the band is lost")
}

package audio

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

var rates = []int{8000, 11025, 16000, 22050, 32000, 44099, 48000, 88200, 96000, 192000, 384000, 767_999}

// resampleAll feeds x in uneven pieces.
func resampleAll(from int, x []float32) []float32 {
	r := newResampler(from, SampleRate)
	var out []float32
	for size := 1; len(x) > 0; size = size*3%4093 + 1 {
		n := min(size, len(x))
		out = append(out, r.process(x[:n])...)
		x = x[n:]
	}
	return append(out, r.flush()...)
}

func tone32(n int, hz, rate float64) []float32 {
	x := make([]float32, n)
	for i, v := range sine(n, hz, rate, 0.5) {
		x[i] = float32(v)
	}
	return x
}

// worst is the largest difference between got and want, over samples that lie at least edge from both ends.
func worst(got []float32, want []float64, edge int) float64 {
	largest := 0.0
	for i := edge; i < len(got)-edge; i++ {
		largest = max(largest, math.Abs(float64(got[i])-want[i]))
	}
	return largest
}

func TestResamplerKeepsThePassBand(t *testing.T) {
	t.Parallel()
	for _, rate := range rates {
		tolerance := 2e-5
		if len(newResampler(rate, SampleRate).phases) < SampleRate/gcd(rate, SampleRate) {
			tolerance = 2e-3 // times fall on the nearest phase
		}
		nyquist := min(float64(rate), SampleRate) / 2
		for _, part := range []float64{0.01, 0.3, 0.6, 0.88} {
			hz := part * nyquist
			out := resampleAll(rate, tone32(rate/3, hz, float64(rate)))
			want := sine(len(out), hz, SampleRate, 0.5)
			edge := SampleRate/10 + SampleRate*2*zeroCrossings/rate
			require.LessOrEqual(t, worst(out, want, edge), tolerance, "%d Hz at rate %d", int(hz), rate)
		}
	}
}

func TestResamplerSilencesTheStopBand(t *testing.T) {
	t.Parallel()
	for _, rate := range []int{48000, 88200, 96000, 192000} {
		for _, hz := range []float64{22_100, 23_000, 0.49 * float64(rate)} {
			out := resampleAll(rate, tone32(rate/3, hz, float64(rate)))
			require.LessOrEqual(t, worst(out, make([]float64, len(out)), SampleRate/10), 2e-5, "%g Hz at rate %d folds back", hz, rate)
		}
	}
}

func TestResamplerLength(t *testing.T) {
	t.Parallel()
	for _, rate := range rates {
		for _, n := range []int{0, 1, 2, 999, rate / 7} {
			want := math.Round(float64(n) * SampleRate / float64(rate))
			require.InDelta(t, want, len(resampleAll(rate, make([]float32, n))), 0.5, "%d samples at rate %d", n, rate)
		}
	}
	require.Nil(t, newResampler(SampleRate, SampleRate))
}

func TestResamplerDoesNotDependOnBlockSizes(t *testing.T) {
	t.Parallel()
	x := tone32(48000, 997, 48000)
	r := newResampler(48000, SampleRate)
	whole := append(append([]float32(nil), r.process(x)...), r.flush()...)
	require.Equal(t, whole, resampleAll(48000, x))
}

func TestResamplerMemoryIsBounded(t *testing.T) {
	t.Parallel()
	for _, rate := range append(rates, minRate, maxRate) {
		r := newResampler(rate, SampleRate)
		block := make([]float32, 256)
		for range 100 {
			r.process(block)
		}
		require.LessOrEqual(t, cap(r.buf), 4*(2*r.half+len(block)), "rate %d", rate)
		require.LessOrEqual(t, len(r.phases)*2*r.half, maxTaps, "table at rate %d", rate)
	}
}

package audio

import (
	"context"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// fuzzDecoder has small limits so that each input is quick.
func fuzzDecoder(f *testing.F) *Decoder {
	f.Helper()
	return newTestDecoder(f, withoutFFmpeg, func(c *Config) {
		c.Limits = Limits{FileBytes: 1 << 20, Duration: 20 * time.Second, DecodedBytes: 64 << 20, Timeout: 20 * time.Second}
	})
}

// FuzzDecode checks that no file makes a decoder panic, run for ever, or return what its limits forbid. Coverage varies a
// little from run to run, so bound the minimising: go test -fuzz FuzzDecode -fuzzminimizetime 20x.
func FuzzDecode(f *testing.F) {
	tone := sine(SampleRate/5, 440, SampleRate, 0.5)
	for _, s := range []wavSpec{
		{tag: wavPCM, bits: 8, channels: 1, rate: 8000},
		{tag: wavPCM, bits: 24, channels: 2, rate: 48000, extensible: true},
		{tag: wavFloat, bits: 32, channels: 2, rate: 44100},
		{tag: wavFloat, bits: 64, channels: 1, rate: 96000, junk: 3},
	} {
		f.Add(buildWAV(s, tone))
	}
	f.Add(toneFLAC(f, 1)[:9000])
	f.Add(testdata(f, "tone.mp3")[:4000])
	f.Add(testdata(f, "tone-mpeg25.mp3")[:1000])
	f.Add([]byte("ID3\x04\x00\x00\x00\x00\x00\x01a"))
	d := fuzzDecoder(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		_, err := d.Decode(context.Background(), opener(data), 1, func([]int16) error { return nil }) // most of it skipped
		if err != nil {
			require.NotEmpty(t, CodeOf(err), "an error that blames nobody: %v", err)
		}
		var samples atomic.Int64
		info, err := d.Decode(context.Background(), opener(data), math.MaxInt64, func(pcm []int16) error {
			samples.Add(int64(len(pcm)))
			return nil
		})
		if err != nil {
			require.NotEmpty(t, CodeOf(err), "an error that blames nobody: %v", err)
			require.NotEqual(t, Timeout, CodeOf(err))
			return
		}
		require.Equal(t, samples.Load(), info.Samples)
		require.GreaterOrEqual(t, info.Seconds(), MinSeconds*0.99)
		require.LessOrEqual(t, info.Seconds(), 20.01)
	})
}

// FuzzResample checks length and finiteness at every rate.
func FuzzResample(f *testing.F) {
	f.Add(uint32(48000), uint16(1000))
	f.Add(uint32(44099), uint16(1))
	f.Add(uint32(767999), uint16(65535))
	f.Fuzz(func(t *testing.T, rate uint32, n uint16) {
		if rate < minRate || rate > maxRate || rate == SampleRate {
			return
		}
		out := resampleAll(int(rate), make([]float32, n))
		require.InDelta(t, float64(n)*SampleRate/float64(rate), len(out), 0.5+1e-9)
		require.Zero(t, worst(out, make([]float64, len(out)), 0))
	})
}

package audio

import (
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestDecodeWAV(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, withoutFFmpeg)
	for name, tc := range map[string]struct {
		spec wavSpec
		hz   float64
		tol  float64
	}{
		"8 bit":                 {wavSpec{tag: wavPCM, bits: 8, channels: 1, rate: 44100}, 440, 1.0 / 128},
		"16 bit":                {wavSpec{tag: wavPCM, bits: 16, channels: 1, rate: 44100}, 440, 1.0 / 32768},
		"16 bit stereo":         {wavSpec{tag: wavPCM, bits: 16, channels: 2, rate: 44100}, 440, 1.0 / 32768},
		"24 bit":                {wavSpec{tag: wavPCM, bits: 24, channels: 2, rate: 44100}, 440, 1.0 / 32768},
		"32 bit":                {wavSpec{tag: wavPCM, bits: 32, channels: 2, rate: 44100}, 440, 1.0 / 32768},
		"float":                 {wavSpec{tag: wavFloat, bits: 32, channels: 2, rate: 44100}, 440, 1.0 / 32768},
		"double":                {wavSpec{tag: wavFloat, bits: 64, channels: 2, rate: 44100}, 440, 1.0 / 32768},
		"extensible":            {wavSpec{tag: wavPCM, bits: 24, channels: 6, rate: 44100, extensible: true}, 440, 1.0 / 32768},
		"odd chunk before":      {wavSpec{tag: wavPCM, bits: 16, channels: 1, rate: 44100, junk: 70001}, 440, 1.0 / 32768},
		"length unknown":        {wavSpec{tag: wavPCM, bits: 16, channels: 1, rate: 44100, claim: unknownSize}, 440, 1.0 / 32768},
		"48 kHz":                {wavSpec{tag: wavPCM, bits: 24, channels: 2, rate: 48000}, 440, 2.0 / 32768},
		"8 kHz":                 {wavSpec{tag: wavPCM, bits: 24, channels: 1, rate: 8000}, 440, 2.0 / 32768},
		"8 channels at 192 kHz": {wavSpec{tag: wavPCM, bits: 24, channels: 8, rate: 192000, extensible: true}, 440, 2.0 / 32768},
		"strange rate":          {wavSpec{tag: wavPCM, bits: 24, channels: 1, rate: 44099}, 440, 4.0 / 32768},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			frames := tc.spec.rate * 3 / 2
			pcm, info, err := decodeBytes(t, d, buildWAV(tc.spec, sine(frames, tc.hz, float64(tc.spec.rate), 0.5)))
			require.NoError(t, err)
			require.Equal(t, Info{Format: "wav", Rate: tc.spec.rate, Channels: tc.spec.channels, Samples: int64(len(pcm)), PCMRate: SampleRate}, info)
			require.InDelta(t, 1.5*SampleRate, len(pcm), 1)
			require.LessOrEqual(t, toneError(pcm, tc.hz, 0.5, SampleRate/10), tc.tol)
		})
	}
}

func TestSixteenBitMonoPassesThroughUnchanged(t *testing.T) {
	t.Parallel()
	want := make([]int16, 1<<16)
	x := make([]float64, len(want))
	for i := range want {
		want[i] = int16(i)
		x[i] = float64(want[i]) / 32768
	}
	pcm, _, err := decodeBytes(t, newTestDecoder(t), buildWAV(wavSpec{tag: wavPCM, bits: 16, channels: 1, rate: 44100}, x))
	require.NoError(t, err)
	require.Equal(t, want, pcm)
}

func TestDownmixIsTheMean(t *testing.T) {
	t.Parallel()
	m := newMixer(44100, 3, 0, &Faults{})
	inf := float32(math.Inf(1))
	var got []float32
	take := func(mono []float32) error {
		got = append(got, mono...)
		return nil
	}
	require.NoError(t, m.push([]float32{0.3, 0.6, 0, -1, -1, -1, inf, 0, 0, inf, -inf, 0, 1e30, 1, 1}, take))
	require.NoError(t, m.flush(take))
	require.InDeltaSlice(t, []float32{0.3, -1, 0, 0, 2}, got, 1e-6, "what is no number is silent")
	require.Equal(t, []int16{-32768, 32767, 0, 32767, -32768}, []int16{toInt16(-1), toInt16(1), toInt16(0.4 / 32768), toInt16(2), toInt16(-2)})
}

// The other formats hold the same tone: 440 Hz at 0.4 on both sides and 1 kHz at 0.1 on the left.
func TestDecodeCompressed(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		format   string
		inGo     bool
		tol      float64
		maxExtra float64 // seconds of padding that the codec adds
	}{
		"tone.mp3":        {format: "mp3", inGo: true, tol: 0.03, maxExtra: 0.1},
		"tone-mpeg2.mp3":  {format: "mp3", tol: 0.03, maxExtra: 0.1},
		"tone-mpeg25.mp3": {format: "mp3", tol: 0.03, maxExtra: 0.1},
		"tone.ogg":        {format: "ogg", tol: 0.02, maxExtra: 0.01},
		"tone.m4a":        {format: "mp4", tol: 0.03, maxExtra: 0.1},
		"tone.aac":        {format: "aac", tol: 0.03, maxExtra: 0.1},
		"tone.webm":       {format: "matroska", tol: 0.03, maxExtra: 0.1},
		"tone-mulaw.wav":  {format: "wav", tol: 0.03, maxExtra: 0.01},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := newTestDecoder(t)
			if !tc.inGo {
				_, _, err := decodeBytes(t, newTestDecoder(t, withoutFFmpeg), testdata(t, name))
				require.Equal(t, NeedsFFmpeg, CodeOf(err), "%v", err)
				require.ErrorContains(t, err, "apt install ffmpeg")
				needFFmpeg(t, d)
			}
			pcm, info, err := decodeBytes(t, d, testdata(t, name))
			require.NoError(t, err)
			require.Equal(t, tc.format, info.Format)
			require.InDelta(t, 3.05, info.Seconds(), 0.05+tc.maxExtra)
			require.InDelta(t, 0.4, amplitudeAt(pcm, 440), tc.tol)
			require.InDelta(t, 0.05, amplitudeAt(pcm, 1000), tc.tol, "half of the left channel's 0.1")
		})
	}
}

// amplitudeAt is the amplitude of one frequency over the middle second (a one-bin Fourier transform).
func amplitudeAt(pcm []int16, hz float64) float64 {
	start := (len(pcm) - SampleRate) / 2
	re, im := 0.0, 0.0
	for i, v := range pcm[start : start+SampleRate] {
		sin, cos := math.Sincos(2 * math.Pi * hz * float64(i) / SampleRate)
		re += float64(v) / 32768 * cos
		im += float64(v) / 32768 * sin
	}
	return 2 * math.Hypot(re, im) / SampleRate
}

// A machine with ffmpeg and one without must cut the same windows from a file without loss that both can read.
func TestSamplesDoNotDependOnFFmpegBeingInstalled(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"wav":  buildWAV(wavSpec{tag: wavPCM, bits: 24, channels: 2, rate: 48000}, sine(48000, 440, 48000, 0.5)),
		"flac": toneFLAC(t, 2),
	} {
		with, _, err := decodeBytes(t, newTestDecoder(t), data)
		require.NoError(t, err, name)
		without, _, err := decodeBytes(t, newTestDecoder(t, withoutFFmpeg), data)
		require.NoError(t, err, name)
		require.Equal(t, with, without, name)
	}
}

func TestFLACIsLossless(t *testing.T) {
	t.Parallel()
	pcm, info, err := decodeBytes(t, newTestDecoder(t, withoutFFmpeg), toneFLAC(t, 2))
	require.NoError(t, err)
	require.Equal(t, Info{Format: "flac", Rate: 44100, Channels: 1, Samples: 2 * SampleRate, PCMRate: SampleRate}, info)
	want := make([]int16, 2*SampleRate)
	for i, v := range sine(2*SampleRate, 440, SampleRate, 0.5) {
		want[i] = int16(math.Round(v * 32767))
	}
	require.Equal(t, want, pcm)
}

func TestTagsAroundTheAudioAreSkipped(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, withoutFFmpeg)
	tag := "ID3\x04\x00\x00\x00\x02\x00\x00" + strings.Repeat("\xff\xfb", 1<<14)
	plain, _, err := decodeBytes(t, d, testdata(t, "tone.mp3"))
	require.NoError(t, err)
	tagged, info, err := decodeBytes(t, d, []byte(tag+tag+string(testdata(t, "tone.mp3"))+"TAG"+strings.Repeat("\x00", 125)))
	require.NoError(t, err)
	require.Equal(t, "mp3", info.Format)
	require.Equal(t, plain, tagged)

	flac := toneFLAC(t, 1)
	pcm, _, err := decodeBytes(t, d, []byte(tag+string(flac)+"TAG"+strings.Repeat("\x00", 125)))
	require.NoError(t, err)
	require.Len(t, pcm, SampleRate)
}

func TestDamagedMP3GoesOnBehindTheDamage(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, withoutFFmpeg)
	data := testdata(t, "tone.mp3")
	whole, _, err := decodeBytes(t, d, data)
	require.NoError(t, err)
	broken := append([]byte(nil), data...)
	copy(broken[len(broken)/2:], strings.Repeat("\xff\xfd\x00\x00", 100))
	pcm, _, err := decodeBytes(t, d, broken)
	require.NoError(t, err)
	require.Greater(t, len(pcm), len(whole)*9/10)
}

func TestErrorsOfTheStoreAreNotTheFilesFault(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t)
	lost := errors.New("connection lost")
	for name, data := range map[string][]byte{
		"flac": toneFLAC(t, 3), "mp3": testdata(t, "tone.mp3"), "ogg": testdata(t, "tone.ogg"),
		"wav": buildWAV(wavSpec{tag: wavPCM, bits: 16, channels: 1, rate: 44100}, sine(44100, 440, 44100, 0.5)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if name == "ogg" {
				needFFmpeg(t, d)
			}
			open := func() (io.ReadCloser, error) {
				half := strings.NewReader(string(data[:len(data)/2]))
				return io.NopCloser(io.MultiReader(half, iotest.ErrReader(lost))), nil
			}
			_, err := d.Decode(context.Background(), open, math.MaxInt64, func([]int16) error { return nil })
			require.ErrorIs(t, err, lost)
			require.Empty(t, CodeOf(err))
		})
	}
}

func TestCancelStopsDecoding(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t)
	stop := errors.New("stopped by the user")
	for _, name := range []string{"tone.mp3", "tone.ogg"} {
		if name == "tone.ogg" && d.FFmpeg() == "" {
			continue
		}
		ctx, cancel := context.WithCancelCause(context.Background())
		_, err := d.Decode(ctx, opener(testdata(t, name)), math.MaxInt64, func([]int16) error {
			cancel(stop)
			return nil
		})
		require.ErrorIs(t, err, stop, name)
		require.Empty(t, CodeOf(err), name)
	}
}

func TestTimeoutHasItsCode(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, func(c *Config) { c.Limits.Timeout = time.Nanosecond })
	_, _, err := decodeBytes(t, d, toneFLAC(t, 1))
	require.Equal(t, Timeout, CodeOf(err), "%v", err)
}

func TestSinkErrorsComeBack(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	_, err := newTestDecoder(t).Decode(context.Background(), opener(toneFLAC(t, 1)), math.MaxInt64, func([]int16) error { return full })
	require.ErrorIs(t, err, full)
}

func TestLimitsMustBeSet(t *testing.T) {
	t.Parallel()
	_, err := NewDecoder(t.Context(), Config{})
	require.ErrorContains(t, err, "must all be positive")
	_, err = NewDecoder(t.Context(), Config{Limits: testLimits(), FFmpeg: "/no/such/program"})
	require.ErrorContains(t, err, "looking for ffmpeg")
}

// What is not kept changes neither the length nor the judgement of the file.
func TestOnlyTheBeginningIsKept(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, withoutFFmpeg)
	tone := func(rate int) []byte {
		return buildWAV(wavSpec{tag: wavPCM, bits: 16, channels: 1, rate: rate}, sine(3*rate, 440, float64(rate), 0.5))
	}
	mp3 := testdata(t, "tone.mp3")
	for name, data := range map[string][]byte{
		"wav": tone(SampleRate), "wav at 48 kHz": tone(48000), "flac": toneFLAC(t, 3),
		"mp3": mp3, "tagged mp3": append(append([]byte(nil), mp3...), "TAG"+strings.Repeat("\x00", 125)...),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			whole, info, err := decodeBytes(t, d, data)
			require.NoError(t, err)
			var kept []int16
			keep := func(pcm []int16) error {
				kept = append(kept, pcm...)
				return nil
			}
			short, err := d.Decode(context.Background(), opener(data), SampleRate, keep)
			require.NoError(t, err)
			require.Equal(t, info, short)
			require.GreaterOrEqual(t, len(kept), SampleRate)
			require.Less(t, len(kept), 2*SampleRate)
			require.Equal(t, whole[:len(kept)], kept)

			cut, err := d.Decode(context.Background(), opener(data[:2*len(data)/3]), SampleRate, func([]int16) error { return nil })
			require.NoError(t, err)
			require.Equal(t, Truncated, damageOf(cut)[0].Code)
		})
	}
}

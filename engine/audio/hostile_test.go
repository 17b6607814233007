package audio

import (
	"context"
	"encoding/binary"
	"errors"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestBadInput(t *testing.T) {
	t.Parallel()
	tone := sine(SampleRate, 440, SampleRate, 0.5)
	pcm16 := wavSpec{tag: wavPCM, bits: 16, channels: 1, rate: SampleRate}
	flac := toneFLAC(t, 4)
	for name, tc := range map[string]struct {
		data []byte
		code Code
		says string
	}{
		"empty":                    {nil, Empty, "the file is empty"},
		"only a tag":               {[]byte("ID3\x04\x00\x00\x00\x00\x00\x00"), Empty, "a tag and no sound"},
		"tag longer than the file": {[]byte("ID3\x04\x00\x00\x7f\x7f\x7f\x7fxyz"), Undecodable, "the tag is longer than the file"},
		"text":                     {[]byte(strings.Repeat("It was a dark and stormy night. ", 1000)), Undecodable, "no audio format that is known"},
		"html":                     {[]byte("<!doctype html><title>404</title>"), Undecodable, "no audio format that is known"},
		"playlist":                 {[]byte("#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n"), Undecodable, "no audio format that is known"},
		"concatenation script":     {[]byte("ffconcat version 1.0\nfile /etc/passwd\n"), Undecodable, "no audio format that is known"},
		"noise":                    {noise(1 << 16), Undecodable, ""},
		"flac header alone":        {flac[:42], Undecodable, "truncated"},
		"half a flac header":       {flac[:20], Undecodable, ""},
		"wav without samples":      {buildWAV(pcm16, nil), Empty, "holds no samples"},
		"wav cut in its header":    {buildWAV(pcm16, nil)[:30], Undecodable, ""},
		"wav with a huge chunk":    {[]byte("RIFF\xff\xff\xff\xffWAVEjunk\xff\xff\xff\xff"), Undecodable, ""},
		"wav of 10 ms":             {buildWAV(pcm16, tone[:SampleRate/100]), TooShort, "lasts 0.010 s, the shortest accepted is 0.1 s"},
		"wav at 0 Hz":              {buildWAV(wavSpec{tag: wavPCM, bits: 16, channels: 1}, tone), Undecodable, "sample rate 0 Hz"},
		"wav at 4 GHz":             {patch(buildWAV(pcm16, tone), 24, 0xffffffff), Undecodable, "sample rate"},
		"wav of 1000 channels":     {buildWAV(wavSpec{tag: wavPCM, bits: 8, channels: 1000, rate: 44100}, tone[:10]), Undecodable, "1000 channels"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pcm, _, err := decodeBytes(t, newTestDecoder(t), tc.data)
			require.Equal(t, tc.code, CodeOf(err), "%v", err)
			require.ErrorContains(t, err, tc.says)
			require.LessOrEqual(t, len(pcm), 4*SampleRate)
		})
	}
}

func TestBadInputForFFmpeg(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t)
	needFFmpeg(t, d)
	for name, data := range map[string][]byte{
		"mp4 without its index": testdata(t, "tone.m4a")[:9000],
		"ogg of nothing":        []byte("OggS" + strings.Repeat("\x00", 500)),
		"matroska of nothing":   []byte("\x1a\x45\xdf\xa3" + strings.Repeat("\x00", 500)),
		"adpcm of nothing":      patch(buildWAV(wavSpec{tag: wavPCM, bits: 16, channels: 1, rate: 44100}, nil), 20, 0x00010011),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := decodeBytes(t, d, data)
			require.Equal(t, Undecodable, CodeOf(err), "%v", err)
			require.NotContains(t, err.Error(), "lark-ffmpeg", "paths of the server are not the user's business")
		})
	}
}

// A child process keeps the same limits, and is gone when decoding ends, however it ends (the leak check waits for its pipes).
func TestLimitsHoldForFFmpeg(t *testing.T) {
	t.Parallel()
	needFFmpeg(t, newTestDecoder(t))
	for name, tc := range map[string]struct {
		change func(*Limits)
		code   Code
	}{
		"file":     {func(l *Limits) { l.FileBytes = 10_000 }, TooLarge},
		"decoded":  {func(l *Limits) { l.DecodedBytes = 100_000 }, TooLarge},
		"duration": {func(l *Limits) { l.Duration = time.Second }, TooLong},
		"time":     {func(l *Limits) { l.Timeout = time.Millisecond }, Timeout},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			scratch := t.TempDir()
			d := newTestDecoder(t, func(c *Config) { tc.change(&c.Limits); c.Scratch = scratch })
			_, _, err := decodeBytes(t, d, testdata(t, "tone.ogg"))
			require.Equal(t, tc.code, CodeOf(err), "%v", err)
			left, err := os.ReadDir(scratch)
			require.NoError(t, err)
			require.Empty(t, left, "scratch files are removed")
		})
	}
}

// What ffmpeg is told: a file, a demuxer, no network, no interaction.
func TestFFmpegArguments(t *testing.T) {
	t.Parallel()
	f := ffmpeg{path: "/usr/bin/ffmpeg", limits: testLimits()}
	cmd := f.command(t.Context(), "/scratch/x", format{name: "ogg", demuxer: "ogg"})
	args := strings.Join(cmd.Args, " ")
	for _, want := range []string{
		"ulimit -f 0", "-nostdin", "-protocol_whitelist file,pipe", "-format_whitelist aac,", "-codec_whitelist aac,", "-f ogg -i file:/scratch/x", "-map 0:a:0", "-f wav pipe:1",
	} {
		require.Contains(t, args, want)
	}
	require.Equal(t, []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}, cmd.Env, "no credentials in its environment")
}

func TestSilenceIsNoError(t *testing.T) {
	t.Parallel()
	pcm, _, err := decodeBytes(t, newTestDecoder(t), buildWAV(wavSpec{tag: wavPCM, bits: 16, channels: 2, rate: 48000}, make([]float64, 48000)))
	require.NoError(t, err)
	require.Equal(t, make([]int16, SampleRate), pcm)
}

// A header may be off by a little, as many are; what is there counts.
func TestSlightlyShortFileIsAccepted(t *testing.T) {
	t.Parallel()
	spec := wavSpec{tag: wavPCM, bits: 16, channels: 1, rate: SampleRate, claim: 2*SampleRate + 700}
	pcm, _, err := decodeBytes(t, newTestDecoder(t), buildWAV(spec, sine(SampleRate, 440, SampleRate, 0.5)))
	require.NoError(t, err)
	require.Len(t, pcm, SampleRate)
}

func TestLimits(t *testing.T) {
	t.Parallel()
	tone := buildWAV(wavSpec{tag: wavPCM, bits: 16, channels: 2, rate: SampleRate}, sine(3*SampleRate, 440, SampleRate, 0.5))
	for name, tc := range map[string]struct {
		change func(*Limits)
		code   Code
	}{
		"file":     {func(l *Limits) { l.FileBytes = 100_000 }, TooLarge},
		"decoded":  {func(l *Limits) { l.DecodedBytes = 100_000 }, TooLarge},
		"duration": {func(l *Limits) { l.Duration = 2 * time.Second }, TooLong},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := decodeBytes(t, newTestDecoder(t, func(c *Config) { tc.change(&c.Limits) }), tone)
			require.Equal(t, tc.code, CodeOf(err), "%v", err)
		})
	}
}

func noise(n int) []byte {
	b := make([]byte, n)
	state := uint32(1)
	for i := range b {
		state = state*1664525 + 1013904223
		b[i] = byte(state >> 24)
	}
	return b
}

func damage(data []byte, at int) []byte {
	out := append([]byte(nil), data...)
	out[at] ^= 0x55
	return out
}

func patch(data []byte, at int, v uint32) []byte {
	out := append([]byte(nil), data...)
	binary.LittleEndian.PutUint32(out[at:], v)
	return out
}

var errStop = errors.New("stop")

// A decoder that panics or never moves is contained.
func TestPanickingSourceIsContained(t *testing.T) {
	t.Parallel()
	s := &source{rate: 44100, channels: 1, next: func() ([]float32, error) { panic(errStop) }}
	_, _, err := s.advance(false)
	require.Equal(t, Undecodable, CodeOf(err))
	require.ErrorContains(t, err, "stop")
	_, err = openContained(t.Context(), format{name: "x", open: func(context.Context, *file) (*source, error) { panic(errStop) }}, nil)
	require.Equal(t, Undecodable, CodeOf(err))
	require.Equal(t, int16(math.MaxInt16), toInt16(float32(math.Inf(1))))
}

package audio

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"math"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/event"
)

// memoryBound is what decoding one file may hold beyond what was held before, in bytes.
const memoryBound = 16 << 20

func TestBadInput(t *testing.T) {
	t.Parallel()
	tone := sine(SampleRate, 440, SampleRate, 0.5)
	pcm16 := wavSpec{tag: wavPCM, bits: 16, channels: 1, rate: SampleRate}
	claims := func(size uint32) wavSpec { s := pcm16; s.claim = size; return s }
	flac := toneFLAC(t, 4)
	for name, tc := range map[string]struct {
		data []byte
		code string
		says string
	}{
		"empty":                     {nil, event.CodeAudioEmpty, "the file is empty"},
		"only a tag":                {[]byte("ID3\x04\x00\x00\x00\x00\x00\x00"), event.CodeAudioEmpty, "the file is empty"},
		"tag longer than the file":  {[]byte("ID3\x04\x00\x00\x7f\x7f\x7f\x7fxyz"), event.CodeAudioEmpty, "the file is empty"},
		"text":                      {[]byte(strings.Repeat("It was a dark and stormy night. ", 1000)), event.CodeAudioUndecodable, "no audio format that is known"},
		"html":                      {[]byte("<!doctype html><title>404</title>"), event.CodeAudioUndecodable, "no audio format that is known"},
		"playlist":                  {[]byte("#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n"), event.CodeAudioUndecodable, "no audio format that is known"},
		"concatenation script":      {[]byte("ffconcat version 1.0\nfile /etc/passwd\n"), event.CodeAudioUndecodable, "no audio format that is known"},
		"noise":                     {noise(1 << 16), event.CodeAudioUndecodable, ""},
		"truncated flac":            {flac[:len(flac)/2], event.CodeAudioUndecodable, "truncated"},
		"flac cut between frames":   {flac[:42+2*len(toneFLAC(t, 1)[42:])], event.CodeAudioUndecodable, "truncated: its header tells of 4.0 s, 2.0 s are there"},
		"flac header alone":         {flac[:42], event.CodeAudioUndecodable, "truncated"},
		"half a flac header":        {flac[:20], event.CodeAudioUndecodable, ""},
		"damaged flac":              {damage(flac, len(flac)/2), event.CodeAudioUndecodable, ""},
		"wav claims 4 GB":           {buildWAV(claims(4_000_000_000), tone), event.CodeAudioUndecodable, "truncated: its header tells of 45351.5 s, 1.0 s are there"},
		"wav claims all but 1 byte": {buildWAV(claims(unknownSize-1), tone), event.CodeAudioUndecodable, "truncated"},
		"wav without samples":       {buildWAV(pcm16, nil), event.CodeAudioEmpty, "holds no samples"},
		"wav cut in its header":     {buildWAV(pcm16, nil)[:30], event.CodeAudioUndecodable, ""},
		"wav with a huge chunk":     {[]byte("RIFF\xff\xff\xff\xffWAVEjunk\xff\xff\xff\xff"), event.CodeAudioUndecodable, ""},
		"wav of 10 ms":              {buildWAV(pcm16, tone[:SampleRate/100]), event.CodeAudioTooShort, "lasts 0.010 s, the shortest accepted is 0.1 s"},
		"wav at 0 Hz":               {buildWAV(wavSpec{tag: wavPCM, bits: 16, channels: 1}, tone), event.CodeAudioUndecodable, "sample rate 0 Hz"},
		"wav at 4 GHz":              {patch(buildWAV(pcm16, tone), 24, 0xffffffff), event.CodeAudioUndecodable, "sample rate"},
		"wav of 1000 channels":      {buildWAV(wavSpec{tag: wavPCM, bits: 8, channels: 1000, rate: 44100}, tone[:10]), event.CodeAudioUndecodable, "1000 channels"},
		"wav of 12 bits":            {patch(buildWAV(pcm16, tone), 34, 12), event.CodeAudioUndecodable, "wav of 12 bits"},
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
			require.Equal(t, event.CodeAudioUndecodable, CodeOf(err), "%v", err)
			require.NotContains(t, err.Error(), "lark-ffmpeg", "paths of the server are not the user's business")
		})
	}
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
		code   string
	}{
		"file":     {func(l *Limits) { l.FileBytes = 100_000 }, event.CodeAudioTooLarge},
		"decoded":  {func(l *Limits) { l.DecodedBytes = 100_000 }, event.CodeAudioTooLarge},
		"duration": {func(l *Limits) { l.Duration = 2 * time.Second }, event.CodeAudioTooLong},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := decodeBytes(t, newTestDecoder(t, func(c *Config) { tc.change(&c.Limits) }), tone)
			require.Equal(t, tc.code, CodeOf(err), "%v", err)
		})
	}
}

// Each of these is decoded as a stream that this test makes while it is read, so that what memory grows by is
// the decoder's. Not parallel: it measures the heap.
func TestMemoryIsBoundedWhateverTheFile(t *testing.T) { //nolint:paralleltest // measures the heap of the process
	hour := 3600
	bomb := flacBomb(t)
	for name, tc := range map[string]struct {
		open  func() io.Reader
		limit time.Duration
		code  string
	}{
		"one hour": {func() io.Reader {
			header := buildWAV(wavSpec{tag: wavPCM, bits: 16, channels: 2, rate: SampleRate, claim: uint32(hour * SampleRate * 4)}, nil)
			return io.MultiReader(bytes.NewReader(header), io.LimitReader(rampReader{}, int64(hour)*SampleRate*4))
		}, 2 * time.Hour, ""},
		"8 channels at 192 kHz": {func() io.Reader {
			header := buildWAV(wavSpec{tag: wavPCM, bits: 24, channels: 8, rate: 192000, extensible: true, claim: 60 * 192000 * 24}, nil)
			return io.MultiReader(bytes.NewReader(header), io.LimitReader(rampReader{}, 60*192000*24))
		}, 2 * time.Hour, ""},
		"decompression bomb": {func() io.Reader { return repeat(bomb.header, bomb.frame) }, 2 * time.Hour, event.CodeAudioTooLong},
		"endless mp3":        {func() io.Reader { return repeat(nil, testdata(t, "tone.mp3")) }, 5 * time.Minute, event.CodeAudioTooLong},
		"endless tags":       {func() io.Reader { return repeat(nil, []byte("ID3\x04\x00\x00\x00\x00\x00\x00")) }, time.Hour, event.CodeAudioUndecodable},
		"endless chunks": {func() io.Reader {
			return repeat([]byte("RIFF\xff\xff\xff\xffWAVE"), []byte("junk\x04\x00\x00\x00abcd"))
		}, time.Hour, event.CodeAudioTooLarge},
	} {
		t.Run(name, func(t *testing.T) { //nolint:paralleltest // as above
			d := newTestDecoder(t, withoutFFmpeg, func(c *Config) {
				c.Limits = Limits{FileBytes: 1 << 30, Duration: tc.limit, DecodedBytes: 16 << 30, Timeout: 10 * time.Minute}
			})
			grown := peakGrowth(func(sample func()) {
				n := 0
				_, err := d.Decode(context.Background(), func() (io.ReadCloser, error) { return io.NopCloser(tc.open()), nil }, math.MaxInt64,
					func([]int16) error {
						if n++; n%2000 == 1 {
							sample()
						}
						return nil
					})
				require.Equal(t, tc.code, CodeOf(err), "%v", err)
				if tc.code == "" {
					require.NoError(t, err)
				}
			})
			t.Logf("held at most %.1f MiB more than before", float64(grown)/(1<<20))
			require.LessOrEqual(t, grown, int64(memoryBound))
		})
	}
}

// peakGrowth runs f and returns the largest growth of the live heap at the moments that f samples.
func peakGrowth(f func(sample func())) int64 {
	live := func() int64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before, peak := live(), int64(0)
	f(func() { peak = max(peak, live()-before) })
	return peak
}

// rampReader gives bytes that are some sound.
type rampReader struct{}

func (rampReader) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(i * 7)
	}
	return len(b), nil
}

// repeat reads head once and then body for ever.
func repeat(head, body []byte) io.Reader {
	r := io.Reader(&loop{body: body})
	if head != nil {
		r = io.MultiReader(bytes.NewReader(head), r)
	}
	return r
}

type loop struct {
	body []byte
	at   int
}

func (l *loop) Read(b []byte) (int, error) {
	n := copy(b, l.body[l.at:])
	l.at = (l.at + n) % len(l.body)
	return n, nil
}

// flacBomb is a header that tells no length and a frame of 65,535 zeros in 17 bytes, to be repeated.
func flacBomb(t testing.TB) (bomb struct{ header, frame []byte }) {
	t.Helper()
	one := buildFLAC(t, 44100, 16, 0, [][]int32{nil}, 65535)
	header := buildFLAC(t, 44100, 16, 0, nil, 65535)
	bomb.header, bomb.frame = header, one[len(header):]
	require.Less(t, len(bomb.frame), 32)
	return bomb
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
		var samples atomic.Int64
		info, err := d.Decode(context.Background(), opener(data), math.MaxInt64, func(pcm []int16) error {
			samples.Add(int64(len(pcm)))
			return nil
		})
		if err != nil {
			require.NotEmpty(t, CodeOf(err), "an error that blames nobody: %v", err)
			require.NotEqual(t, event.CodeAudioTimeout, CodeOf(err))
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

var errStop = errors.New("stop")

// A decoder that panics or never moves is contained.
func TestPanickingSourceIsContained(t *testing.T) {
	t.Parallel()
	s := &source{rate: 44100, channels: 1, next: func() ([]float32, error) { panic(errStop) }}
	_, err := s.contained()
	require.Equal(t, event.CodeAudioUndecodable, CodeOf(err))
	require.ErrorContains(t, err, "stop")
	_, err = openContained(format{name: "x", open: nil}, nil)
	require.Equal(t, event.CodeAudioUndecodable, CodeOf(err))
	require.Equal(t, int16(math.MaxInt16), toInt16(float32(math.Inf(1))))
}

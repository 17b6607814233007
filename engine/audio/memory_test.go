package audio

import (
	"bytes"
	"context"
	"io"
	"math"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// memoryBound is what decoding one file may hold beyond what was held before, in bytes.
const memoryBound = 16 << 20

// Each of these is decoded as a stream that this test makes while it is read, so that what memory grows by is
// the decoder's. Not parallel: it measures the heap.
func TestMemoryIsBoundedWhateverTheFile(t *testing.T) { //nolint:paralleltest // measures the heap of the process
	const long = 600 // seconds
	bomb := flacBomb(t)
	for name, tc := range map[string]struct {
		open  func() io.Reader
		limit time.Duration
		code  Code
	}{
		"ten minutes": {func() io.Reader {
			header := buildWAV(wavSpec{tag: wavPCM, bits: 16, channels: 2, rate: SampleRate, claim: long * SampleRate * 4}, nil)
			return io.MultiReader(bytes.NewReader(header), io.LimitReader(rampReader{}, long*SampleRate*4))
		}, 2 * time.Hour, ""},
		"8 channels at 192 kHz": {func() io.Reader {
			header := buildWAV(wavSpec{tag: wavPCM, bits: 24, channels: 8, rate: 192000, extensible: true, claim: 5 * 192000 * 24}, nil)
			return io.MultiReader(bytes.NewReader(header), io.LimitReader(rampReader{}, 5*192000*24))
		}, 2 * time.Hour, ""},
		"decompression bomb": {func() io.Reader { return repeat(bomb.header, bomb.frame) }, 20 * time.Minute, TooLong},
		"endless mp3":        {func() io.Reader { return repeat(nil, testdata(t, "tone.mp3")) }, 30 * time.Second, TooLong},
		"endless tags":       {func() io.Reader { return repeat(nil, []byte("ID3\x04\x00\x00\x00\x00\x00\x00")) }, time.Hour, Undecodable},
		"endless chunks": {func() io.Reader {
			return repeat([]byte("RIFF\xff\xff\xff\xffWAVE"), []byte("junk\x04\x00\x00\x00abcd"))
		}, time.Hour, TooLarge},
	} {
		t.Run(name, func(t *testing.T) { //nolint:paralleltest // as above
			d := newTestDecoder(t, withoutFFmpeg, func(c *Config) {
				c.Limits = Limits{FileBytes: 128 << 20, Duration: tc.limit, DecodedBytes: 16 << 30, Timeout: 10 * time.Minute}
			})
			grown := peakGrowth(func(sample func()) {
				n := 0
				_, err := d.Decode(context.Background(), func() (io.ReadCloser, error) { return io.NopCloser(tc.open()), nil }, math.MaxInt64,
					func([]int16) error {
						if n++; n%200 == 1 {
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

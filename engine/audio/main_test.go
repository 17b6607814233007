package audio

import (
	"bytes"
	"context"
	"encoding/binary"
	"io"
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mewkiz/flac"
	"github.com/mewkiz/flac/frame"
	"github.com/mewkiz/flac/meta"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func testLimits() Limits {
	return Limits{FileBytes: 64 << 20, Duration: 10 * time.Minute, DecodedBytes: 1 << 30, Timeout: time.Minute}
}

func newTestDecoder(t testing.TB, change ...func(*Config)) *Decoder {
	t.Helper()
	cfg := Config{Limits: testLimits(), Scratch: t.TempDir()}
	for _, c := range change {
		c(&cfg)
	}
	d, err := NewDecoder(t.Context(), cfg)
	require.NoError(t, err)
	return d
}

func withoutFFmpeg(c *Config) { c.FFmpeg = "none" }

// needFFmpeg skips where ffmpeg is not installed; CI installs it.
func needFFmpeg(t testing.TB, d *Decoder) {
	t.Helper()
	if d.FFmpeg() == "" {
		t.Skip("ffmpeg is not installed")
	}
}

func decodeBytes(t testing.TB, d *Decoder, data []byte) ([]int16, Info, error) {
	t.Helper()
	var pcm []int16
	info, err := d.Decode(context.Background(), opener(data), math.MaxInt64, func(block []int16) error {
		pcm = append(pcm, block...)
		return nil
	})
	return pcm, info, err
}

func opener(data []byte) func() (io.ReadCloser, error) {
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }
}

func testdata(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	require.NoError(t, err)
	return data
}

// sine returns n samples of a tone in [-1, 1].
func sine(n int, hz, rate, amplitude float64) []float64 {
	x := make([]float64, n)
	for i := range x {
		x[i] = amplitude * math.Sin(2*math.Pi*hz*float64(i)/rate)
	}
	return x
}

// wavSpec describes a WAV file to build. Samples are written to every channel.
type wavSpec struct {
	tag, bits, channels, rate int
	extensible                bool
	claim                     uint32 // data size in the header, 0 for the true one
	junk                      int    // bytes of a LIST chunk before the samples
}

func buildWAV(s wavSpec, samples []float64) []byte {
	var data bytes.Buffer
	for _, v := range samples {
		for range s.channels {
			data.Write(wavSample(s.tag, s.bits, v))
		}
	}
	var b bytes.Buffer
	le := func(v any) { _ = binary.Write(&b, binary.LittleEndian, v) }
	claim := s.claim
	if claim == 0 {
		claim = uint32(data.Len())
	}
	b.WriteString("RIFF")
	le(uint32(0xffffffff))
	b.WriteString("WAVE")
	if s.junk > 0 {
		b.WriteString("LIST")
		le(uint32(s.junk))
		b.Write(make([]byte, s.junk+s.junk&1))
	}
	b.WriteString("fmt ")
	tag, size := s.tag, 16
	if s.extensible {
		tag, size = wavExtensible, 40
	}
	le(uint32(size))
	le(uint16(tag))
	le(uint16(s.channels))
	le(uint32(s.rate))
	le(uint32(s.rate * s.channels * s.bits / 8))
	le(uint16(s.channels * s.bits / 8))
	le(uint16(s.bits))
	if s.extensible {
		le([]uint16{22, uint16(s.bits), 0, 0, uint16(s.tag)})
		b.WriteString("\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa\x00\x38\x9b\x71")
	}
	b.WriteString("data")
	le(claim)
	b.Write(data.Bytes())
	return b.Bytes()
}

func wavSample(tag, bits int, v float64) []byte {
	scale := math.Exp2(float64(bits - 1))
	whole := int64(max(-scale, min(scale-1, math.Round(v*scale))))
	switch {
	case tag == wavFloat && bits == 32:
		return binary.LittleEndian.AppendUint32(nil, math.Float32bits(float32(v)))
	case tag == wavFloat:
		return binary.LittleEndian.AppendUint64(nil, math.Float64bits(v))
	case bits == 8:
		return []byte{byte(whole + 128)}
	}
	return binary.LittleEndian.AppendUint64(nil, uint64(whole))[:bits/8]
}

// buildFLAC encodes blocks of one channel; a nil block is a block of blockSize zeros, stored in a few bytes.
func buildFLAC(t testing.TB, rate uint32, bits uint8, declared uint64, blocks [][]int32, blockSize int) []byte {
	t.Helper()
	var b bytes.Buffer
	info := &meta.StreamInfo{
		BlockSizeMin: uint16(blockSize), BlockSizeMax: uint16(blockSize),
		SampleRate: rate, NChannels: 1, BitsPerSample: bits, NSamples: declared,
	}
	// The encoder writes the number of samples that it has seen when it can seek; a bytes.Buffer cannot,
	// so the header keeps what is declared.
	enc, err := flac.NewEncoder(&b, info)
	require.NoError(t, err)
	for i, samples := range blocks {
		sub := &frame.Subframe{SubHeader: frame.SubHeader{Pred: frame.PredVerbatim}, Samples: samples, NSamples: len(samples)}
		if samples == nil {
			sub = &frame.Subframe{SubHeader: frame.SubHeader{Pred: frame.PredConstant}, Samples: make([]int32, blockSize), NSamples: blockSize}
		}
		require.NoError(t, enc.WriteFrame(&frame.Frame{
			Header: frame.Header{
				HasFixedBlockSize: true, BlockSize: uint16(sub.NSamples), SampleRate: rate,
				Channels: frame.ChannelsMono, BitsPerSample: bits, Num: uint64(i),
			},
			Subframes: []*frame.Subframe{sub},
		}))
	}
	return b.Bytes()
}

// toneFLAC is seconds of a 440 Hz tone at 44.1 kHz, 16 bits.
func toneFLAC(t testing.TB, seconds int) []byte {
	t.Helper()
	const size = 4410
	x := sine(seconds*SampleRate, 440, SampleRate, 0.5)
	var blocks [][]int32
	for at := 0; at < len(x); at += size {
		block := make([]int32, size)
		for i := range block {
			block[i] = int32(math.Round(x[at+i] * 32767))
		}
		blocks = append(blocks, block)
	}
	return buildFLAC(t, SampleRate, 16, uint64(len(x)), blocks, size)
}

// toneError is the largest difference, in units of full scale, between pcm and a sine, over samples that lie at least
// edge from both ends.
func toneError(pcm []int16, hz, amplitude float64, edge int) float64 {
	want := sine(len(pcm), hz, SampleRate, amplitude)
	worst := 0.0
	for i := edge; i < len(pcm)-edge; i++ {
		worst = max(worst, math.Abs(float64(pcm[i])/32768-want[i]))
	}
	return worst
}

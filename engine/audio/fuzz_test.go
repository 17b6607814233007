package audio

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/internal/alloctest"
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
	f.Add(zeroed(toneFLAC(f, 1)[:20000]))
	f.Add(zeroed(testdata(f, "tone.mp3")[:12000]))
	f.Add(caseFile(f, "cat-44k-48k.mp3")[20000:28000])
	f.Add(caseFile(f, "rate-changes.flac"))
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

// FuzzMemory checks that what a header claims takes no memory: opening a file may allocate a constant and a little for each byte that is
// there, and a block of a decoder as much as a frame of flac can hold.
func FuzzMemory(f *testing.F) {
	const (
		perByte   = 8
		toOpen    = 512 << 10
		toBlock   = 24 << 20 // 65,535 samples of 8 channels: decoded, interleaved, hashed
		fewBlocks = 2
	)
	f.Add(caseFile(f, "picture-first.flac"))
	f.Add(toneFLAC(f, 1)[:9000])
	f.Add(testdata(f, "tone.mp3")[:4000])
	f.Add(patch16(buildWAV(wavSpec{tag: wavFloat, bits: 64, channels: 1, rate: 44100}, make([]float64, 64)), 22, 64))
	f.Add([]byte("RIFF\xff\xff\xff\xffWAVEfmt \xff\xff\xff\x7f"))
	f.Add([]byte("ID3\x04\x00\x00\x7f\x7f\x7f\x7f"))
	f.Add([]byte("fLaC\x00\x00\x00\x22" + string(make([]byte, 34)) + "\x86\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var src *source
		alloctest.Bound(t, len(data), toOpen, perByte, func() {
			in := &file{Reader: bufio.NewReaderSize(bytes.NewReader(data), peekBytes), faults: &Faults{}}
			src = nil
			if ft, err := sniff(in); err == nil && ft.open != nil {
				src, _ = openContained(t.Context(), ft, in)
			}
		})
		for n := 0; src != nil && n < fewBlocks; n++ {
			alloctest.Bound(t, len(data), toBlock, 2*perByte, func() { _, _, _ = src.advance(false) })
		}
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

// FuzzInspectors checks that no bytes make an inspector panic or hold more than a page, however they are cut into writes.
func FuzzInspectors(f *testing.F) {
	f.Add(testdata(f, "tone.ogg")[:9000], uint16(100))
	f.Add(testdata(f, "tone.aac")[:9000], uint16(7))
	f.Add([]byte("OggS"), uint16(1))
	f.Fuzz(func(t *testing.T, data []byte, step uint16) {
		for _, make := range []func(*Faults) inspector{newOggInspector, newADTSInspector, newMP4Inspector, inspectSize(w64Size), inspectSize(auSize), inspectSize(asfSize)} {
			faults := &Faults{}
			look := make(faults)
			inspect := func() {
				for rest := data; len(rest) > 0; {
					n := min(len(rest), 1+int(step))
					if _, err := look.Write(rest[:n]); err != nil {
						require.Equal(t, Undecodable, CodeOf(err))
						return
					}
					rest = rest[n:]
				}
				look.end()
			}
			alloctest.Bound(t, len(data), 512<<10, 100, inspect)
			for _, w := range faults.Warnings() {
				require.GreaterOrEqual(t, w.AtS, 0.0)
				require.LessOrEqual(t, len(w.Message), 400)
			}
		}
	})
}

// FuzzFFmpegLog checks that what ffmpeg says, which repeats what stands in the file, cannot crash or fill the reader of its log.
func FuzzFFmpegLog(f *testing.F) {
	f.Add([]byte("[info] Input #0, ogg, from 'x':\n[info]   Duration: 01:02:03.45, start: 0.0\n[info]   Stream #0:0: Audio: vorbis\n"), uint16(9))
	f.Add([]byte("[error] [mov @ 0x55] moov atom not found\n[fatal] x: Invalid data\n"), uint16(3))
	f.Fuzz(func(t *testing.T, text []byte, step uint16) {
		alloctest.Bound(t, len(text), 64<<10, 100, func() {
			var l ffmpegLog
			for rest := text; len(rest) > 0; {
				n := min(len(rest), 1+int(step))
				took, err := l.Write(rest[:n])
				require.NoError(t, err)
				require.Equal(t, n, took)
				rest = rest[n:]
			}
			require.LessOrEqual(t, len(l.line), maxLogLine)
			seconds, known := l.duration()
			require.Equal(t, known, known && seconds > 0)
			require.NotEmpty(t, l.reason("ogg"))
			require.NotContains(t, l.reason("ogg"), "0x")
		})
	})
}

// FuzzMP3Run checks that what goes to ffmpeg is whole frames of one kind, which last as long as is told of them.
func FuzzMP3Run(f *testing.F) {
	for _, name := range []string{"tone.mp3", "tone-mpeg25.mp3", "cases/freeformat.mp3"} {
		f.Add(testdata(f, name)[:6000])
	}
	f.Add(zeroed(testdata(f, "tone.mp3")[:12000]))
	f.Add(caseFile(f, "cat-44k-48k.mp3")[20000:28000])
	f.Fuzz(func(t *testing.T, data []byte) {
		frames := &mp3Frames{r: bufio.NewReaderSize(bytes.NewReader(data), peekBytes), f: &Faults{}}
		if frames.begin() != nil {
			return
		}
		for more := true; more; {
			kind, samples := frames.kind, int64(0)
			run := newMP3Run(frames, testLimits())
			raw, err := io.ReadAll(run)
			require.NoError(t, err)
			raw = raw[len(kind.wavHeader()):]
			for len(raw) > 0 {
				h, ok := parseMP3Header(raw)
				require.True(t, ok)
				h.free = kind.free
				require.Equal(t, kind, h.mp3Kind)
				require.GreaterOrEqual(t, len(raw), h.size)
				raw, samples = raw[h.size:], samples+int64(h.samples)
			}
			require.Equal(t, run.samples, samples)
			more = errors.Is(frames.after, errNextRun)
		}
	})
}

package audio

import (
	"bytes"
	"encoding/binary"
	"io"
	"math"
	"math/rand/v2"
	"os/exec"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Damage is told alike by ffmpeg and by the decoder in Go that stands in for it.
func TestDamageOfMP3IsFlagged(t *testing.T) {
	t.Parallel()
	mp3 := testdata(t, "tone.mp3")
	byApp, inGo := newTestDecoder(t), newTestDecoder(t, withoutFFmpeg)
	for name, tc := range map[string]fault{
		"mp3 with a third zeroed":        {data: zeroed(withoutXing(mp3)), seconds: 2.06, codes: []WarningCode{DamagedFrames}, missing: 1.02},
		"mp3 with Xing, a third zeroed":  {data: zeroed(mp3), seconds: 2.09, codes: []WarningCode{DamagedFrames}, missing: 0.99},
		"mp3 cut in a frame":             {data: mp3[:len(mp3)/2+100], seconds: 1.52, codes: []WarningCode{Truncated}, missing: 1.54},
		"mp3 of two rates":               {data: caseFile(t, "cat-44k-48k.mp3"), seconds: 6.05, codes: []WarningCode{SampleRateChanged}},
		"mp3, second header damaged":     {data: damage(mp3, secondFrame(mp3)), seconds: 3.05, codes: []WarningCode{DamagedFrames}, missing: 0.03},
		"mp3, first header damaged":      {data: damage(mp3, firstFrame(mp3)), seconds: 3.05, codes: []WarningCode{DamagedFrames}},
		"mp3 cut out of a stream":        {data: mp3[firstFrame(mp3)+700:], seconds: 3.03, codes: []WarningCode{DamagedFrames}},
		"mp3 behind 20 KB of zeros":      {data: append(make([]byte, 20_000), mp3...), seconds: 3.08},
		"mp3 behind a short tag":         {data: tagged(60_000, 100, mp3), seconds: 3.08},
		"mp3 behind a tag of plain size": {data: plainTag(60_000, mp3), seconds: 3.08},
		"mp3, tag claims sound":          {data: tagged(100, 9000, mp3), seconds: 3.08, codes: []WarningCode{StaleHeader}},
		"mp3, tag claims a frame more":   {data: tagged(100, 400, mp3), seconds: 3.05},
		"mp3 behind an ape tag":          {data: append(apeTag(20_000), mp3...), seconds: 3.08},
		"mp3 between ape tags":           {data: slices.Concat(apeTag(50), mp3, apeTag(20_000)), seconds: 3.08},
		"mp3 behind padding":             {data: tagged(10, 10, append(make([]byte, 20_000), mp3...)), seconds: 3.08},
	} {
		t.Run(name+", in Go", func(t *testing.T) {
			t.Parallel()
			checkFault(t, inGo, tc)
		})
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			needFFmpeg(t, byApp)
			checkFault(t, byApp, tc)
		})
	}
	for name, tc := range map[string]fault{
		"mp3 damaged everywhere":     {data: caseFile(t, "damaged-everywhere.mp3"), seconds: 3.03, codes: []WarningCode{DamagedFrames}},
		"mp3 of free bit rate":       {data: caseFile(t, "freeformat.mp3"), seconds: 1.02, codes: []WarningCode{Truncated}},
		"mp3 of two versions":        {data: caseFile(t, "cat-44k-22k.mp3"), seconds: 6.09, codes: []WarningCode{SampleRateChanged}},
		"mpeg 2.5, delay damaged":    {data: damagedDelay(testdata(t, "tone-mpeg25.mp3")), seconds: 3.19},
		"mpeg 2 with a third zeroed": {data: zeroed(withoutXing(testdata(t, "tone-mpeg2.mp3"))), seconds: 2.1, missing: 1.04, codes: []WarningCode{DamagedFrames}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			needFFmpeg(t, byApp)
			checkFault(t, byApp, tc)
		})
	}
}

// Frames that the decoder in Go reads wrong are told of where it has to serve, with the remedy, and are right by ffmpeg.
func TestInexactStereoIsTold(t *testing.T) {
	t.Parallel()
	byApp := newTestDecoder(t)
	needFFmpeg(t, byApp)
	for name, tc := range map[string]struct {
		data []byte
		says string
	}{
		"mid/side, short blocks": {transient(t, byApp.FFmpeg(), "1"), "mid/side stereo with short blocks"},
		"intensity":              {withMode(transient(t, byApp.FFmpeg(), "0"), 0x50), "intensity stereo, whose right side is silent"},
		"both":                   {withMode(transient(t, byApp.FFmpeg(), "0"), 0x70), "intensity stereo"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inGo, info, err := decodeBytes(t, newTestDecoder(t, withoutFFmpeg), tc.data)
			require.NoError(t, err)
			require.Len(t, info.Warnings(), 1)
			told := info.Warnings()[0]
			require.Equal(t, InexactStereo, told.Code)
			require.False(t, told.Code.Damage(), "the file is sound")
			require.Contains(t, told.Message, tc.says)
			require.Contains(t, told.Message, "install it (apt install ffmpeg")
			right, info, err := decodeBytes(t, byApp, tc.data)
			require.NoError(t, err)
			require.Empty(t, info.Warnings())
			requireClose(t, rawByFFmpeg(t, byApp.FFmpeg(), "mp3float", tc.data), right, 2)
			require.Greater(t, farthest(right, inGo), 8, "nothing to tell of")
		})
	}
	plain := transient(t, byApp.FFmpeg(), "0")
	inGo, info, err := decodeBytes(t, newTestDecoder(t, withoutFFmpeg), plain)
	require.NoError(t, err)
	require.Empty(t, info.Warnings(), "left and right are decoded well")
	right, _, err := decodeBytes(t, byApp, plain)
	require.NoError(t, err)
	requireClose(t, right, inGo, 2)
}

// The names of windows follow from the samples: these may not change with the instructions that a processor has.
func TestMP3IsTheSameOnEveryProcessor(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t)
	needFFmpeg(t, d)
	data := transient(t, d.FFmpeg(), "1")
	pcm, _, err := decodeBytes(t, d, data)
	require.NoError(t, err)
	require.Equal(t, rawByFFmpeg(t, d.FFmpeg(), "mp3", data, "-cpuflags", "0"), pcm)
}

// Every frame is heard, the one with the encoder's header as silence, and however few there are: so both decoders give the same length.
func TestEveryFrameOfMP3IsHeard(t *testing.T) {
	t.Parallel()
	byApp, inGo := newTestDecoder(t), newTestDecoder(t, withoutFFmpeg)
	needFFmpeg(t, byApp)
	tone := testdata(t, "tone.mp3")
	tone = tone[firstFrame(tone):]
	h, _ := parseMP3Header(tone)
	header := []byte{0, 0, 0, 0}
	header[3] = 0x0c // copyrighted, original
	for name, data := range map[string][]byte{
		"whole": tone, "six frames": tone[:secondFrame(tone)*6], "first header says otherwise": append(or(tone[:4], header), tone[4:]...),
		"without header": tone[h.size:], "VBRI": slices.Concat(tone[:36], []byte("VBRI"), tone[40:]),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			want := int64(0)
			for at := 0; at < len(data); {
				h, ok := parseMP3Header(data[at:])
				require.True(t, ok)
				at += h.size
				if at <= len(data) {
					want += int64(h.samples)
				}
			}
			for _, d := range []*Decoder{byApp, inGo} {
				_, info, err := decodeBytes(t, d, data)
				require.NoError(t, err)
				require.Equal(t, want, info.Samples)
				kept, err := d.Decode(t.Context(), opener(data), SampleRate/50, func([]int16) error { return nil })
				require.NoError(t, err)
				require.Equal(t, want, kept.Samples, "without decoding the rest")
			}
		})
	}
}

// Of what a contradictory frame holds nothing comes out of ffmpeg: it is silenced before.
func TestContradictoryFrameIsSilenced(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t)
	needFFmpeg(t, d)
	data := testdata(t, "tone.mp3")
	whole, _, err := decodeBytes(t, d, data)
	require.NoError(t, err)
	at := firstFrame(data)
	for range 40 {
		h, _ := parseMP3Header(data[at:])
		at += h.size
	}
	odd := bytes.Clone(data)
	odd[at+4+(9+3+8+12+9+8+4)/8] |= 1 << (7 - (9+3+8+12+9+8+4)%8)  // windows are switched
	odd[at+4+(9+3+8+12+9+8+5)/8] &^= 3 << (6 - (9+3+8+12+9+8+5)%8) // to those that are not switched
	pcm, info, err := decodeBytes(t, d, odd)
	require.NoError(t, err)
	require.Len(t, pcm, len(whole))
	require.Equal(t, DamagedFrames, info.Warnings()[0].Code)
	require.InDelta(t, 40*1152.0/SampleRate, info.Warnings()[0].AtS, 0.001)
}

// A file that does not end is not copied for ffmpeg to its end.
func TestEndlessMP3EndsAtTheLimit(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, func(c *Config) { c.Limits.Duration = 30 * time.Second })
	needFFmpeg(t, d)
	tone := testdata(t, "tone.mp3")
	endless := &loop{body: tone}
	counted := &io.LimitedReader{R: endless, N: 1 << 40}
	_, err := d.Decode(t.Context(), func() (io.ReadCloser, error) { return io.NopCloser(counted), nil }, math.MaxInt64, func([]int16) error { return nil })
	require.Equal(t, TooLong, CodeOf(err), "%v", err)
	require.Less(t, 1<<40-counted.N, int64(11*len(tone)))
}

// What ffmpeg leaves out is told and counted.
func TestFramesThatFFmpegLeavesOutAreMissing(t *testing.T) {
	t.Parallel()
	f := &Faults{}
	m := &mp3Reader{
		file: &file{faults: f}, src: &source{rate: SampleRate, channels: 1}, frames: &mp3Frames{after: io.EOF}, left: 3 * 1152,
		byApp: &source{next: func() ([]float32, error) { return nil, io.EOF }, close: func() {}},
	}
	_, err := m.next()
	require.ErrorIs(t, err, io.EOF)
	require.InDelta(t, 3*1152.0/SampleRate, f.MissingS, 1e-9)
	require.Equal(t, DamagedFrames, f.Warnings()[0].Code)
}

// A mono part is heard as loud as before, not as ffmpeg would mix it into the channels of the part before.
func TestMP3ChangesItsChannels(t *testing.T) {
	t.Parallel()
	for name, d := range map[string]*Decoder{"ffmpeg": newTestDecoder(t), "Go": newTestDecoder(t, withoutFFmpeg)} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			made := newTestDecoder(t)
			needFFmpeg(t, made)
			tone := sine(2*SampleRate, 440, SampleRate, 0.4)
			mono, both := encodeMP3(t, made.FFmpeg(), asFloats(tone, SampleRate, 1)), encodeMP3(t, made.FFmpeg(), asFloats(twoSides(tone, tone), SampleRate, 2))
			pcm, info, err := decodeBytes(t, d, slices.Concat(both, mono))
			require.NoError(t, err)
			require.Equal(t, FormatChanged, damageOf(info)[0].Code)
			require.InDelta(t, amplitudeAt(pcm[:len(pcm)/2], 440), amplitudeAt(pcm[len(pcm)/2:], 440), 0.001)
		})
	}
}

// transient is stereo with clicks in it, which encoders write in short blocks, as mp3 with or without mid/side stereo.
func transient(t testing.TB, ffmpeg, joint string) []byte {
	t.Helper()
	left := sine(2*SampleRate, 440, SampleRate, 0.2)
	right := sine(2*SampleRate, 3000, SampleRate, 0.1)
	rnd := rand.New(rand.NewPCG(3, 3))
	for i := range left {
		noise := 0.02 * (rnd.Float64() - 0.5)
		if i%9000 > 8700 {
			noise = rnd.Float64() - 0.5
		}
		left[i] += noise
		if joint == "1" || i%9000 > 8700 {
			right[i] += 0.8 * noise // else intensity has lines of its own above those of the right side
		}
	}
	return encodeMP3(t, ffmpeg, asFloats(twoSides(left, right), SampleRate, 2), "-joint_stereo", joint, "-cutoff", "20000")
}

// encodeMP3 encodes a wav file without a header in the first frame.
func encodeMP3(t testing.TB, ffmpeg string, wav []byte, args ...string) []byte {
	t.Helper()
	args = append([]string{"-loglevel", "error", "-i", "pipe:0", "-b:a", "128k", "-write_xing", "0", "-id3v2_version", "0"}, args...)
	cmd := exec.CommandContext(t.Context(), ffmpeg, append(args, "-bitexact", "-f", "mp3", "pipe:1")...)
	cmd.Stdin = bytes.NewReader(wav)
	out, err := cmd.Output()
	require.NoError(t, err)
	return out
}

// withMode sets the mode and its extension in every header of a file that is frames alone.
func withMode(data []byte, mode byte) []byte {
	out := bytes.Clone(data)
	for at := 0; at < len(out); {
		h, ok := parseMP3Header(out[at:])
		if !ok {
			break
		}
		out[at+3] = out[at+3]&0x0f | mode
		at += h.size
	}
	return out
}

// rawByFFmpeg decodes stereo of 44.1 kHz by ffmpeg alone, with a decoder of its own, and mixes as we do.
func rawByFFmpeg(t testing.TB, ffmpeg, decoder string, data []byte, args ...string) []int16 {
	t.Helper()
	args = append(args, "-loglevel", "error", "-flags2", "skip_manual", "-c:a", decoder, "-f", "mp3", "-i", "pipe:0", "-f", "f32le", "-c:a", "pcm_f32le", "pipe:1")
	cmd := exec.CommandContext(t.Context(), ffmpeg, args...)
	cmd.Stdin = bytes.NewReader(data)
	raw, err := cmd.Output()
	require.NoError(t, err)
	x := make([]float64, 0, len(raw)/4)
	for ; len(raw) >= 4; raw = raw[4:] {
		x = append(x, float64(math.Float32frombits(binary.LittleEndian.Uint32(raw))))
	}
	pcm, _, err := decodeBytes(t, newTestDecoder(t, withoutFFmpeg), asFloats(x, SampleRate, 2))
	require.NoError(t, err)
	return pcm
}

// farthest is the largest difference between samples.
func farthest(want, got []int16) (most int) {
	for i := range min(len(want), len(got)) {
		most = max(most, int(math.Abs(float64(want[i])-float64(got[i]))))
	}
	return most
}

func requireClose(t *testing.T, want, got []int16, tolerance int) {
	t.Helper()
	require.Len(t, got, len(want))
	require.LessOrEqual(t, farthest(want, got), tolerance)
}

func or(a, b []byte) []byte {
	out := bytes.Clone(a)
	for i := range b {
		out[i] |= b[i]
	}
	return out
}

// The helpers below make the odd files.

// apeTag is a tag (APEv2) with a header, of a number of bytes beside it.
func apeTag(size int) []byte {
	b := binary.LittleEndian.AppendUint32([]byte("APETAGEX"), 2000)
	b = binary.LittleEndian.AppendUint32(b, uint32(size))
	b = append(b, 1, 0, 0, 0, 0, 0, 0, 0xa0, 0, 0, 0, 0, 0, 0, 0, 0)
	return append(b, bytes.Repeat([]byte{0xff, 0xd8, 0x42}, size/3+1)[:size]...)
}

// firstFrame and secondFrame are where the frames of an mp3 file begin.
func firstFrame(mp3 []byte) int {
	at, _ := findMP3(mp3, sureFrames)
	return at
}

func secondFrame(mp3 []byte) int {
	at := firstFrame(mp3)
	h, _ := parseMP3Header(mp3[at:])
	return at + h.size
}

// damagedDelay has damage where the header in the first frame tells how much silence the encoder added.
func damagedDelay(mp3 []byte) []byte {
	return damage(mp3, bytes.Index(mp3, []byte("Info"))+142)
}

// withoutXing has no number of frames in its first frame.
func withoutXing(mp3 []byte) []byte {
	out := bytes.Clone(mp3)
	for _, magic := range []string{"Xing", "Info"} {
		if at := bytes.Index(out[:2000], []byte(magic)); at >= 0 {
			copy(out[at:], "none")
		}
	}
	return out
}

// tagged begins with an ID3 tag of a size that claims another.
func tagged(size, claim int, data []byte) []byte {
	head := []byte("ID3\x04\x00\x00\x00\x00\x00\x00")
	head[8], head[9] = byte(claim>>7&0x7f), byte(claim&0x7f)
	return append(append(head, bytes.Repeat([]byte{0xff, 0xd8, 0x42}, size/3+1)[:size]...), data...)
}

// plainTag has its size as a plain number of 32 bits.
func plainTag(size int, data []byte) []byte {
	out := tagged(size, 0, data)
	binary.BigEndian.PutUint32(out[6:], uint32(size))
	return out
}

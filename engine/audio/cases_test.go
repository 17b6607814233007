package audio

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// fault is one odd file and what is right for it.
type fault struct {
	data    []byte
	seconds float64
	codes   []WarningCode
	missing float64
	says    string
}

func caseFile(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "cases", name))
	require.NoError(t, err)
	return data
}

// Damaged and odd files are heard as far as they go, and say what is wrong with them.
func TestDamageIsFlagged(t *testing.T) {
	t.Parallel()
	flac := toneFLAC(t, 4)
	unsized := withoutLength(flac)
	tone := sine(SampleRate, 440, SampleRate, 0.5)
	pcm16 := wavSpec{tag: wavPCM, bits: 16, channels: 1, rate: SampleRate}
	wav := buildWAV(pcm16, tone)
	oneSecond := len(toneFLAC(t, 1)) - 42
	for name, tc := range map[string]fault{
		"flac cut in a frame":          {data: flac[:len(flac)/2], seconds: 1.9, codes: []WarningCode{Truncated}, missing: 2.1},
		"flac cut between frames":      {data: flac[:42+2*oneSecond], seconds: 2, codes: []WarningCode{Truncated}, missing: 2, says: "its header tells of 4.0 s, 2.0 s are there"},
		"flac damaged in a frame":      {data: damage(flac, len(flac)/2), seconds: 3.9, codes: []WarningCode{DamagedFrames}, missing: 0.1},
		"flac with a third zeroed":     {data: zeroed(flac), seconds: 2.6, codes: []WarningCode{DamagedFrames}, missing: 1.4},
		"unsized flac, header damaged": {data: damage(unsized, 42+2*oneSecond), seconds: 3.9, codes: []WarningCode{DamagedFrames}, missing: 0.1},
		"unsized flac cut in a frame":  {data: unsized[:42+2*oneSecond+3000], seconds: 2, codes: []WarningCode{Truncated}},
		"unsized flac, whole":          {data: unsized, seconds: 4},
		"flac with another checksum":   {data: checksummed(flac), seconds: 4, codes: []WarningCode{ChecksumDisagrees}},
		"flac that changes its size":   {data: caseFile(t, "size-changes.flac"), seconds: 2.97, codes: []WarningCode{Clipped, DCOffset, FormatChanged}},
		"flac that changes its rate":   {data: caseFile(t, "rate-changes.flac"), seconds: 2.05, codes: []WarningCode{StaleHeader, TooQuiet}},
		"flac longer than told":        {data: append(bytes.Clone(toneFLAC(t, 1)), flac[42:]...), seconds: 5, codes: []WarningCode{StaleHeader}},

		"mp3 damaged everywhere, in Go": {data: caseFile(t, "damaged-everywhere.mp3"), seconds: 3.03, codes: []WarningCode{Clipped, DamagedFrames}},

		"wav of 31 bits of size":     {data: patch(wav, 40, 0x7fffffff), seconds: 1},
		"wav as sox pipes it":        {data: patch(wav, 40, 0x7ffff000), seconds: 1},
		"wav as ffmpeg pipes it":     {data: patch(wav, 40, 0xffffffff), seconds: 1},
		"wav of 32 bits less 36":     {data: patch(wav, 40, 0xffffffff-36), seconds: 1},
		"wav of 31 bits less 36":     {data: patch(wav, 40, 0x7fffffff-36), seconds: 1},
		"wav of size 0":              {data: patch(wav, 40, 0), seconds: 1},
		"wav claims 4 GB":            {data: patch(wav, 40, 4_000_000_000), seconds: 1, codes: []WarningCode{Truncated}, missing: 45350.5},
		"wav cut in half":            {data: wav[:44+SampleRate], seconds: 0.5, codes: []WarningCode{Truncated}, missing: 0.5},
		"wav longer than told":       {data: patch(wav, 40, SampleRate), seconds: 1, codes: []WarningCode{StaleHeader}},
		"wav with a chunk behind":    {data: append(bytes.Clone(wav), "LIST\x04\x00\x00\x00abcd"...), seconds: 1},
		"wav of two data chunks":     {data: append(bytes.Clone(wav), wav[36:]...), seconds: 2, codes: []WarningCode{StaleHeader}},
		"wav, other format behind":   {data: slices.Concat(wav, patch(wav[12:36], 12, 8000)), seconds: 1, codes: []WarningCode{StaleHeader}},
		"wav, same format behind":    {data: slices.Concat(wav, wav[12:36]), seconds: 1},
		"wav behind a wav":           {data: slices.Concat(wav, buildWAV(wavSpec{tag: wavPCM, bits: 8, channels: 2, rate: 22050}, tone)), seconds: 3, codes: []WarningCode{StaleHeader, SampleRateChanged}},
		"wav behind a wav, no sound": {data: slices.Concat(wav, []byte("RIFF\x04\x00\x00\x00WAVE")), seconds: 1, codes: []WarningCode{StaleHeader}},
		"wav of two formats":         {data: twoFormats(wav), seconds: 1, codes: []WarningCode{StaleHeader}},
		"wav of size 1":              {data: patch(wav, 40, 1), seconds: 1, codes: []WarningCode{StaleHeader}},
		"wav of odd size, a chunk":   {data: slices.Concat(patch(wav, 40, SampleRate*2-1)[:44+2*SampleRate-1], []byte("\x00LIST\xd0\x07\x00\x00"), make([]byte, 2000)), seconds: 1},
		"wav of 12 bits":             {data: patch16(wav, 34, 12), seconds: 1},
		"wav of 20 bits":             {data: patch16(buildWAV(wavSpec{tag: wavPCM, bits: 24, channels: 2, rate: 48000}, tone), 34, 20), seconds: 0.92},
		"wav without a frame size":   {data: patch16(wav, 32, 0), seconds: 1},
		"wav with some NaN":          {data: patch(floatWAV(tone), 44+4*1000, math.Float32bits(float32(math.NaN()))), seconds: 1, codes: []WarningCode{NotFinite}},
		"wav with some infinity":     {data: patch(floatWAV(tone), 44+4*1000, math.Float32bits(float32(math.Inf(-1)))), seconds: 1, codes: []WarningCode{NotFinite}},
		"wav with one side of NaN":   {data: asFloats(twoSides(tone, nan(len(tone))), SampleRate, 2), seconds: 1, codes: []WarningCode{NotFinite}},
		"wav at -66 dB":              {data: buildWAV(pcm16, sine(SampleRate, 440, SampleRate, 0.0005)), seconds: 1, codes: []WarningCode{TooQuiet}},
		"wav of silence":             {data: buildWAV(pcm16, make([]float64, SampleRate)), seconds: 1, codes: []WarningCode{TooQuiet}},
		"wav of a constant level":    {data: buildWAV(pcm16, constant(0.25)), seconds: 1, codes: []WarningCode{DCOffset, TooQuiet}},
		"wav beyond full scale":      {data: buildWAV(pcm16, sine(SampleRate, 440, SampleRate, 3)), seconds: 1, codes: []WarningCode{Clipped}},
		"wav whose channels cancel":  {data: antiphase(tone), seconds: 1, codes: []WarningCode{ChannelsCancel}},
		"wav of one sounding side":   {data: oneSide(tone), seconds: 1},
		"wav that was never damaged": {data: wav, seconds: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkFault(t, newTestDecoder(t, withoutFFmpeg), tc)
		})
	}
}

// The same for what ffmpeg decodes.
func TestDamageIsFlaggedByFFmpeg(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t)
	needFFmpeg(t, d)
	ogg, aac, tone := testdata(t, "tone.ogg"), testdata(t, "tone.aac"), sine(SampleRate, 440, SampleRate, 0.5)
	for name, tc := range map[string]fault{
		"ogg cut":                 {data: ogg[:len(ogg)*3/4], seconds: 1.01, codes: []WarningCode{Truncated}},
		"ogg with a third zeroed": {data: zeroed(ogg), seconds: 0.95, missing: 2.05, codes: []WarningCode{DamagedFrames}},
		"ogg with a wrong byte":   {data: damage(ogg, len(ogg)/2), seconds: 1.97, codes: []WarningCode{DamagedFrames}},
		"aac cut in a frame":      {data: aac[:len(aac)/2], seconds: 1.5, codes: []WarningCode{Truncated}},
		"aac with a third zeroed": {data: zeroed(aac), seconds: 2, missing: 1, codes: []WarningCode{DamagedFrames}},
		"mp4 cut, index first":    {data: testdata(t, "tone-index-first.m4a")[:9000], seconds: 1.23, missing: 1.85, codes: []WarningCode{Truncated}},
		"webm cut":                {data: testdata(t, "tone.webm")[:12000], seconds: 1.57, missing: 1.49, codes: []WarningCode{Truncated}},
		"mp4 without a type":      {data: withoutType(testdata(t, "tone-index-first.m4a")), seconds: 3.09},
		"caf of unknown size":     {data: buildCAF(-1, tone), seconds: 1},
		"caf cut":                 {data: buildCAF(int64(8*len(tone)), tone), seconds: 1, codes: []WarningCode{Truncated}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			checkFault(t, d, tc)
		})
	}
}

func checkFault(t *testing.T, d *Decoder, tc fault) {
	t.Helper()
	pcm, info, err := decodeBytes(t, d, tc.data)
	require.NoError(t, err)
	require.Len(t, pcm, int(info.Samples))
	require.InDelta(t, tc.seconds, info.Seconds(), 0.03+tc.seconds/20)
	var codes []WarningCode
	for _, w := range info.Warnings() {
		if w.Code == InexactStereo {
			continue // speaks of the decoder
		}
		codes = append(codes, w.Code)
		require.NotEmpty(t, w.Message)
		require.LessOrEqual(t, w.AtS, info.Seconds()+0.001)
	}
	require.ElementsMatch(t, tc.codes, codes, "%v", info.Warnings())
	require.InDelta(t, tc.missing, info.MissingS, 0.03+tc.missing/20)
	if tc.says != "" {
		require.Contains(t, info.Warnings()[0].Message, tc.says)
	}
}

// What cannot be heard at all is refused with its reason, in our own words.
func TestReasonsForRefusal(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t)
	needFFmpeg(t, d)
	tone := testdata(t, "tone.m4a")
	for name, tc := range map[string]struct {
		data []byte
		says string
	}{
		"video only":            {caseFile(t, "video-only.mp4"), "no audio stream"},
		"encrypted":             {caseFile(t, "encrypted.mp4"), "is encrypted"},
		"no index":              {tone[:len(tone)/2], "no index (moov): its upload or recording was not finished"},
		"header of ogg":         {testdata(t, "tone.ogg")[:3000], "the ogg file is truncated before its first sample"},
		"header of webm":        {caseFile(t, "header-only.webm"), "truncated before its first sample"},
		"picture first":         {caseFile(t, "picture-first.flac"), "does not begin with its stream information"},
		"tag beyond the file":   {append([]byte("ID3\x04\x00\x00\x01\x31\x00\x00"), testdata(t, "tone.mp3")...), "the tag is longer than the file"},
		"NaN only":              {buildWAV(wavSpec{tag: wavFloat, bits: 32, channels: 1, rate: 44100}, nan(SampleRate)), "no sample of the file is a number"},
		"text":                  {[]byte(strings.Repeat("Call me Ishmael. ", 500)), "no audio format that is known"},
		"playlist":              {[]byte("#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n"), "no audio format that is known"},
		"concatenation":         {[]byte("ffconcat version 1.0\nfile /etc/passwd\n"), "no audio format that is known"},
		"picture":               {[]byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01\x00\x00\x00\x01\x08\x06\x00\x00\x00\x1f\x15\xc4\x89"), "no audio format that is known"},
		"zeros":                 {make([]byte, 100_000), "no audio was found behind"},
		"24 bits in four bytes": {patch16(patch16(buildWAV(wavSpec{tag: wavPCM, bits: 32, channels: 1, rate: 44100}, nan(100)), 34, 24), 32, 4), "the wav header contradicts itself: 1 channels of 24 bits take 3 bytes a frame, not 4"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, err := decodeBytes(t, d, tc.data)
			require.Equal(t, Undecodable, CodeOf(err), "%v", err)
			require.ErrorContains(t, err, tc.says)
			for _, foreign := range []string{"0x", "lark-ffmpeg", "exit status", "option", "Invalid data"} {
				require.NotContains(t, err.Error(), foreign)
			}
		})
	}
}

// Both parts of a file whose rate changes are heard at their own pitch.
func TestEachPartIsResampledFromItsOwnRate(t *testing.T) {
	t.Parallel()
	part := func(rate int) [][]int32 {
		block := make([]int32, rate)
		for i, v := range sine(rate, 440, float64(rate), 0.5) {
			block[i] = int32(math.Round(v * 32767))
		}
		return [][]int32{block}
	}
	first := buildFLAC(t, 44100, 16, 0, part(44100), 48000)
	second := buildFLAC(t, 48000, 16, 0, part(48000), 48000)
	pcm, info, err := decodeBytes(t, newTestDecoder(t, withoutFFmpeg), append(first, second[42:]...))
	require.NoError(t, err)
	require.Len(t, pcm, 2*SampleRate)
	require.Equal(t, SampleRateChanged, info.Warnings()[0].Code)
	require.InDelta(t, 1, info.Warnings()[0].AtS, 0.001)
	require.LessOrEqual(t, toneError(pcm[SampleRate:], 440, 0.5, SampleRate/10), 2.0/32768)
}

func TestChannelsThatCancelAreHeard(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, withoutFFmpeg)
	for _, right := range []float64{-1, -1.05} { // the right side is a little louder: that is no reason to change sides
		pcm, _, err := decodeBytes(t, d, stereo(sine(3*SampleRate, 440, SampleRate, 0.5), right))
		require.NoError(t, err)
		require.LessOrEqual(t, toneError(pcm, 440, 0.5, 0), 2.0/32768)
	}
	pcm, info, err := decodeBytes(t, d, stereo(sine(SampleRate, 440, SampleRate, 0.5), -0.5))
	require.NoError(t, err)
	require.Empty(t, info.Warnings(), "half is left: the mean is heard")
	require.InDelta(t, 0.125, amplitudeAt(pcm, 440), 0.001)
}

// A window knows of the damage that lies in it, and of no other.
func TestWindowsKnowTheirDamage(t *testing.T) {
	t.Parallel()
	_, info, err := decodeBytes(t, newTestDecoder(t, withoutFFmpeg), damage(toneFLAC(t, 4), 42+(len(toneFLAC(t, 4))-42)*3/4))
	require.NoError(t, err)
	require.Empty(t, info.Within(0, 2*SampleRate))
	require.Equal(t, DamagedFrames, info.Within(2*SampleRate, 4*SampleRate)[0].Code)
	var f Faults
	f.whole(ChecksumDisagrees, "x")
	f.add(Clipped, 1, "y")
	require.Len(t, f.Within(0, 1), 1, "damage without a place may be anywhere; what is no damage is of the track")
	for range 5000 {
		f.add(DamagedFrames, 2, "z")
	}
	require.LessOrEqual(t, len(f.marks), maxMarks+1)
	require.Len(t, f.Warnings(), 3)
}

// Sides that differ in a little noise alone cancel all the same: their mean would be that noise.
func TestNoiseIsNotHeardForChannelsThatCancel(t *testing.T) {
	t.Parallel()
	rnd, tone := rand.New(rand.NewPCG(1, 1)), sine(SampleRate, 440, SampleRate, 0.5)
	other := make([]float64, len(tone))
	for i, v := range tone {
		other[i] = -v + 0.05*rnd.NormFloat64()
	}
	pcm, info, err := decodeBytes(t, newTestDecoder(t, withoutFFmpeg), asFloats(twoSides(tone, other), SampleRate, 2))
	require.NoError(t, err)
	require.Equal(t, ChannelsCancel, info.Warnings()[0].Code)
	require.InDelta(t, 0.5, amplitudeAt(pcm, 440), 0.01)
}

// Samples beyond a size that ends in a frame are not shifted by the bytes of that frame.
func TestSamplesBeyondTheSizeAreWhole(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t, withoutFFmpeg)
	whole := stereo(sine(SampleRate, 440, SampleRate, 0.5), 0.25)
	want, _, err := decodeBytes(t, d, whole)
	require.NoError(t, err)
	for _, size := range []uint32{1, 3, 4097, SampleRate + 2} {
		got, _, err := decodeBytes(t, d, patch(whole, 40, size))
		require.NoError(t, err)
		require.Equal(t, want, got, size)
	}
}

func TestInfinitiesAreSilent(t *testing.T) {
	t.Parallel()
	data := floatWAV(sine(SampleRate, 440, SampleRate, 0.5))
	pcm, _, err := decodeBytes(t, newTestDecoder(t, withoutFFmpeg), patch(data, 44+4*25, math.Float32bits(float32(math.Inf(1)))))
	require.NoError(t, err)
	require.Zero(t, pcm[25])
}

func TestAnAIFFFileThatLacksALittleIsCut(t *testing.T) {
	t.Parallel()
	whole := slices.Concat([]byte("FORM\x00\x00\x10\x00AIFF"), make([]byte, 0x1000-4))
	for n, cut := range map[int]bool{len(whole): false, len(whole) - 1: true} {
		f := &Faults{}
		look := inspectSize(aiffSize)(f)
		_, err := look.Write(whole[:n])
		require.NoError(t, err)
		look.end()
		require.Equal(t, cut, f.has(Truncated), n)
	}
	require.Zero(t, aiffSize([]byte("FORM\xff\xff\xff\xffAIFF")))
}

func TestAnotherCodecInAnOggFileIsTold(t *testing.T) {
	t.Parallel()
	f := &Faults{}
	look := newOggInspector(f)
	vorbis := append([]byte("\x01vorbis\x00\x00\x00\x00\x02"), binary.LittleEndian.AppendUint32(nil, 44100)...)
	for _, page := range [][]byte{
		oggPage(oggBegins, 1, 0, 0, vorbis), oggPage(oggEnds, 1, 1, 2*44100, nil),
		oggPage(oggBegins, 2, 0, 0, []byte("OpusHead")), oggPage(oggEnds, 2, 1, 48000, nil),
	} {
		_, err := look.Write(page)
		require.NoError(t, err)
	}
	look.end()
	require.Len(t, f.Warnings(), 1)
	require.Equal(t, FormatChanged, f.Warnings()[0].Code)
	require.Contains(t, f.Warnings()[0].Message, "another codec (opus after vorbis)")
}

func TestChainedOpusIsSound(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t)
	needFFmpeg(t, d)
	n := slices.IndexFunc(writers, func(w writer) bool { return w.ext == "opus" })
	one := makeFile(t, d.FFmpeg(), t.TempDir(), n)
	_, info, err := decodeBytes(t, d, slices.Concat(one.data, one.data, one.data))
	require.NoError(t, err)
	require.InDelta(t, 3*one.seconds, info.Seconds(), 0.1)
	require.Empty(t, damageOf(info))
	_, info, err = decodeBytes(t, d, damage(slices.Concat(one.data, one.data), len(one.data)*3/2))
	require.NoError(t, err)
	require.NotEmpty(t, damageOf(info))
}

// Damage that ffmpeg passes over in silence, and files of which it reads the first part alone.
func TestWhatFFmpegPassesOverIsTold(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t)
	needFFmpeg(t, d)
	made := func(t *testing.T, ext string) []byte {
		t.Helper()
		n := slices.IndexFunc(writers, func(w writer) bool { return w.ext == ext })
		return makeFile(t, d.FFmpeg(), t.TempDir(), n).data
	}
	warnings := func(t *testing.T, data []byte) []Warning {
		t.Helper()
		_, info, err := decodeBytes(t, d, data)
		require.NoError(t, err)
		return damageOf(info)
	}
	for _, ext := range []string{"avi", "ts", "voc", "dts"} {
		t.Run(ext, func(t *testing.T) {
			t.Parallel()
			whole := made(t, ext)
			require.Empty(t, warnings(t, whole))
			require.NotEmpty(t, warnings(t, zeroed(whole)))
		})
	}
	for _, ext := range []string{"m4a", "tta", "flv", "wma", "aiff", "caf", "w64"} {
		t.Run("joined "+ext, func(t *testing.T) {
			t.Parallel()
			one := made(t, ext)
			require.Empty(t, warnings(t, one))
			told := warnings(t, slices.Concat(one, one))
			require.NotEmpty(t, told)
			require.Equal(t, StaleHeader, told[0].Code)
		})
	}
}

// The helpers below make the odd files.

// oggPage is a page with one packet.
func oggPage(kind byte, serial, number uint32, position uint64, body []byte) []byte {
	b := append([]byte("OggS\x00"), kind)
	b = binary.LittleEndian.AppendUint64(b, position)
	b = binary.LittleEndian.AppendUint32(b, serial)
	b = binary.LittleEndian.AppendUint32(b, number)
	b = append(b, 0, 0, 0, 0, 1, byte(len(body)))
	b = append(b, body...)
	binary.LittleEndian.PutUint32(b[22:], oggSum(b))
	return b
}

// buildCAF is mono of 16 bits whose data chunk claims a size.
func buildCAF(claim int64, samples []float64) []byte {
	b := []byte("caff\x00\x01\x00\x00desc\x00\x00\x00\x00\x00\x00\x00\x20")
	b = binary.BigEndian.AppendUint64(b, math.Float64bits(SampleRate))
	b = append(b, "lpcm"...)
	for _, v := range []uint32{2, 2, 1, 1, 16} { // little-endian; bytes and frames a packet, channels, bits
		b = binary.BigEndian.AppendUint32(b, v)
	}
	b = append(b, "data"...)
	b = binary.BigEndian.AppendUint64(b, uint64(claim))
	b = append(b, 0, 0, 0, 0)
	for _, v := range samples {
		b = append(b, wavSample(wavPCM, 16, v)...)
	}
	return b
}

// zeroed has its middle third zeroed.
func zeroed(data []byte) []byte {
	out := bytes.Clone(data)
	clear(out[len(out)/3 : 2*len(out)/3])
	return out
}

// withoutLength has 0 as the number of samples in its STREAMINFO.
func withoutLength(flac []byte) []byte {
	out := bytes.Clone(flac)
	out[21] &= 0xf0
	clear(out[22:26])
	return out
}

func checksummed(flac []byte) []byte {
	out := bytes.Clone(flac)
	out[30] = 1
	return out
}

func patch16(data []byte, at int, v uint16) []byte {
	out := bytes.Clone(data)
	binary.LittleEndian.PutUint16(out[at:], v)
	return out
}

func floatWAV(x []float64) []byte {
	return buildWAV(wavSpec{tag: wavFloat, bits: 32, channels: 1, rate: SampleRate}, x)
}

func twoFormats(wav []byte) []byte {
	second := patch(wav[12:36], 12, 8000)
	return append(append(bytes.Clone(wav[:36]), second...), wav[36:]...)
}

func constant(v float64) []float64 {
	out := make([]float64, SampleRate)
	for i := range out {
		out[i] = v
	}
	return out
}

func nan(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.NaN()
	}
	return out
}

// antiphase is stereo with one side the negative of the other.
func antiphase(x []float64) []byte { return stereo(x, -1) }

func oneSide(x []float64) []byte { return stereo(x, 0) }

// twoSides interleaves two channels.
func twoSides(left, right []float64) []float64 {
	both := make([]float64, 0, 2*len(left))
	for i, v := range left {
		both = append(both, v, right[i])
	}
	return both
}

func stereo(x []float64, right float64) []byte {
	both := make([]float64, 0, 2*len(x))
	for _, v := range x {
		both = append(both, v, right*v)
	}
	out := patch16(buildWAV(wavSpec{tag: wavPCM, bits: 16, channels: 1, rate: SampleRate}, both), 22, 2)
	return patch16(out, 32, 4)
}

// withoutType begins with free space where its type would stand, as QuickTime wrote files.
func withoutType(mp4 []byte) []byte { return bytes.Replace(mp4, []byte("ftyp"), []byte("free"), 1) }

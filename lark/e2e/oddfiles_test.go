package e2e

import (
	"bytes"
	"encoding/binary"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/shared/event"
)

// oddFile is a file that was misheard, refused or answered in silence once, and what is right for it: the code of its failure, or its length and its
// warnings.
type oddFile struct {
	audio   []byte
	code    string
	seconds float64
	warns   []string
}

// oddFiles are the kinds of odd files, one or two of each; engine/audio tests more of them without the binaries.
func oddFiles(t *testing.T) map[string]oddFile {
	t.Helper()
	base := melody(1, 3)
	mp3 := testFile(t, "tone.mp3")
	data := base[44:]
	claims := func(size uint32) []byte { return patched(patched(base, 4, size), 40, size) }
	stream := func(codec, ext string) []byte { return byFFmpeg(t, base, ext, "-c:a", codec) }
	aac, ogg := testFile(t, "tone.aac"), testFile(t, "tone.ogg")
	flacFile := flacTone(4)
	files := map[string]oddFile{
		"wav, sizes 0":                {audio: claims(0), seconds: 3},
		"wav, sizes 7FFFFFFF":         {audio: claims(0x7fffffff), seconds: 3},
		"wav, sizes 7FFFF024":         {audio: claims(0x7ffff024), seconds: 3},
		"wav, sizes FFFFFFFF less 36": {audio: claims(0xffffffff - 36), seconds: 3},
		"wav, 24 bits in four bytes":  {audio: wavOf(1, 1, 24, 4, data), code: event.CodeAudioUndecodable},
		"wav, 20 bits":                {audio: wavOf(1, 1, 20, 3, bytes.Repeat([]byte{0, 1, 2, 0, 255, 250}, sampleRate)), seconds: 2},
		"wav, 12 bits":                {audio: wavOf(1, 1, 12, 2, data), seconds: 3},
		"wav, frames of 0 bytes":      {audio: wavOf(1, 1, 16, 0, data), seconds: 3},
		"wav, two formats":            {audio: slices.Concat(base[:36], patched(base[12:36], 12, 8000), base[36:]), seconds: 3, warns: []string{"stale_header"}},
		"wav, sides cancel":           {audio: wavOf(1, 2, 16, 4, sides(data, -1)), seconds: 3, warns: []string{"channels_cancel"}},
		"wav, sides cancel by half":   {audio: wavOf(1, 2, 16, 4, sides(data, -0.9)), seconds: 3, warns: []string{"channels_cancel"}},
		"wav, NaN":                    {audio: wavOf(3, 1, 32, 4, floats(math.NaN(), 1)), code: event.CodeAudioUndecodable},
		"wav, infinite":               {audio: wavOf(3, 1, 32, 4, floats(math.Inf(1), 1)), code: event.CodeAudioUndecodable},
		"wav, NaN in places":          {audio: wavOf(3, 1, 32, 4, floats(math.NaN(), 100)), seconds: 1, warns: []string{"not_finite"}},
		"wav, constant":               {audio: wavOf(1, 1, 16, 2, bytes.Repeat([]byte{0, 64}, sampleRate)), seconds: 1, warns: []string{"dc_offset", "too_quiet"}},
		"wav behind a wav":            {audio: slices.Concat(base, patched(base, 24, 22050)), seconds: 9, warns: []string{"sample_rate_changed", "stale_header"}},

		"mp3, tag too short":        {audio: slices.Concat([]byte("ID3\x04\x00\x00\x00\x00\x00\x64"), bytes.Repeat([]byte{0x41}, 60_000), mp3), seconds: 3.08},
		"mp3, tag beyond the file":  {audio: slices.Concat([]byte("ID3\x04\x00\x00\x02\x00\x00\x00"), mp3), code: event.CodeAudioUndecodable},
		"mp3, tag claims sound":     {audio: slices.Concat([]byte("ID3\x04\x00\x00\x00\x00\x40\x00"), mp3), seconds: 3.08, warns: []string{"stale_header"}},
		"mp3 behind zeros":          {audio: append(make([]byte, 20_000), mp3...), seconds: 3.08},
		"mp3, cut":                  {audio: mp3[:len(mp3)/2], seconds: 1.5, warns: []string{"truncated"}},
		"mp3, a third zeroed":       {audio: zeroedThird(mp3), seconds: 2.09, warns: []string{"damaged_frames"}},
		"mp3, rate changes by half": {audio: testFile(t, "cases/cat-44k-22k.mp3"), seconds: 6.08, warns: []string{"sample_rate_changed"}},
		"mp3, free bit rate":        {audio: testFile(t, "cases/freeformat.mp3"), seconds: 1.02, warns: []string{"truncated"}},

		"aac, a third zeroed":        {audio: zeroedThird(aac), seconds: 2, warns: []string{"damaged_frames"}},
		"ogg, cut":                   {audio: ogg[:len(ogg)*3/4], seconds: 1.01, warns: []string{"truncated"}},
		"flac, a third zeroed":       {audio: zeroedThird(flacFile), seconds: 2.6, warns: []string{"damaged_frames"}},
		"flac, size changes":         {audio: testFile(t, "cases/size-changes.flac"), seconds: 2.97, warns: []string{"clipped", "dc_offset", "format_changed"}},
		"flac, rate changes":         {audio: testFile(t, "cases/rate-changes.flac"), seconds: 2.05, warns: []string{"stale_header", "too_quiet"}},
		"mp4, video alone":           {audio: testFile(t, "cases/video-only.mp4"), code: event.CodeAudioUndecodable},
		"mp4, encrypted":             {audio: testFile(t, "cases/encrypted.mp4"), code: event.CodeAudioUndecodable},
		"mp4, no index":              {audio: testFile(t, "tone.m4a")[:9000], code: event.CodeAudioUndecodable},
		"webm, header alone":         {audio: testFile(t, "cases/header-only.webm"), code: event.CodeAudioUndecodable},
		"avi":                        {audio: stream("pcm_s16le", "avi"), seconds: 3},
		"avi, a third zeroed":        {audio: zeroedThird(stream("pcm_s16le", "avi")), seconds: 2, warns: []string{"truncated"}},
		"flv":                        {audio: stream("libmp3lame", "flv"), seconds: 3},
		"mpeg-ts":                    {audio: stream("mp2", "ts"), seconds: 3},
		"mpeg-ts, a third zeroed":    {audio: zeroedThird(stream("mp2", "ts")), seconds: 2, warns: []string{"damaged_frames"}},
		"voc":                        {audio: stream("pcm_u8", "voc"), seconds: 3},
		"truehd":                     {audio: byFFmpeg(t, base, "thd", "-strict", "-2"), seconds: 3},
		"dts":                        {audio: byFFmpeg(t, base, "dts", "-strict", "-2"), seconds: 3},
		"quicktime without its type": {audio: bytes.Replace(stream("aac", "mov"), []byte("ftyp"), []byte("free"), 1), seconds: 3},
	}
	return files
}

// TestOddFilesAreHeardOrToldOf sends all of them at once.
func TestOddFilesAreHeardOrToldOf(t *testing.T) {
	s := tester(t)
	files := oddFiles(t)
	jobs, refused := map[string]string{}, map[string]string{}
	for name, f := range files {
		job, err := s.trySubmit(t.Context(), f.audio, client.Submission{Questions: []string{"What is the tempo?"}})
		if err != nil {
			refused[name] = problem(t, err).Code
			continue
		}
		jobs[name] = job.ID
	}
	for name, f := range files {
		t.Run(name, func(t *testing.T) {
			if jobs[name] == "" {
				require.Equal(t, f.code, refused[name])
				return
			}
			_, outcomes := s.finish(t, jobs[name])
			require.Len(t, outcomes, 1)
			if f.code != "" {
				require.NotNil(t, outcomes[0].Error)
				require.Equal(t, f.code, outcomes[0].Error.Code)
				require.NotContains(t, outcomes[0].Error.Message, "lark-ffmpeg", "no path")
				return
			}
			require.Equal(t, client.OutcomeAnswered, outcomes[0].State, "%v", outcomes[0].Error)
			var codes []string
			for _, w := range outcomes[0].Track.Warnings {
				codes = append(codes, w.Code)
			}
			slices.Sort(codes)
			require.Equal(t, f.warns, codes, "%v", outcomes[0].Track.Warnings)
			require.InDelta(t, f.seconds, outcomes[0].Track.DurationS, 0.03+f.seconds/20)
		})
	}
}

// testFile is a file of the audio package's tests.
func testFile(t *testing.T, name string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("..", "..", "engine", "audio", "testdata", filepath.FromSlash(name)))
	require.NoError(t, err)
	return data
}

func byFFmpeg(t *testing.T, wav []byte, ext string, args ...string) []byte {
	t.Helper()
	path, err := exec.LookPath("ffmpeg")
	if err != nil {
		t.Skip("ffmpeg is not installed")
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "in.wav"), filepath.Join(dir, "out."+ext)
	require.NoError(t, os.WriteFile(in, wav, 0o600))
	args = slices.Concat([]string{"-nostdin", "-loglevel", "error", "-threads", "1", "-i", in}, args, []string{out})
	said, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput()
	require.NoError(t, err, "%s", said)
	made, err := os.ReadFile(out)
	require.NoError(t, err)
	return made
}

// wavOf has a header of these numbers, at 44.1 kHz.
func wavOf(tag, channels, bits, frame uint16, data []byte) []byte {
	var b bytes.Buffer
	b.WriteString("RIFF")
	put(&b, uint32(36+len(data)))
	b.WriteString("WAVEfmt ")
	put(&b, uint32(16), tag, channels, uint32(sampleRate), uint32(sampleRate)*uint32(frame), frame, bits)
	b.WriteString("data")
	put(&b, uint32(len(data)))
	b.Write(data)
	return b.Bytes()
}

func patched(data []byte, at int, v uint32) []byte {
	out := bytes.Clone(data)
	binary.LittleEndian.PutUint32(out[at:], v)
	return out
}

func zeroedThird(data []byte) []byte {
	out := bytes.Clone(data)
	clear(out[len(out)/3 : 2*len(out)/3])
	return out
}

// sides is stereo of 16 bits: the samples, and the samples times a number.
func sides(mono []byte, gain float64) []byte {
	var out []byte
	for i := 0; i+1 < len(mono); i += 2 {
		v := int16(binary.LittleEndian.Uint16(mono[i:]))
		out = append(out, mono[i], mono[i+1])
		out = binary.LittleEndian.AppendUint16(out, uint16(int16(gain*float64(v))))
	}
	return out
}

// floats is a second of a tone in which every nth sample is another value.
func floats(other float64, nth int) []byte {
	var out []byte
	for i := range sampleRate {
		v := 0.5 * math.Sin(2*math.Pi*440*float64(i)/sampleRate)
		if i%nth == 0 {
			v = other
		}
		out = binary.LittleEndian.AppendUint32(out, math.Float32bits(float32(v)))
	}
	return out
}

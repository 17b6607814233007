package audio

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

// writer is a format that ffmpeg writes.
type writer struct {
	ext    string
	args   []string
	rates  []int
	sides  int // most channels
	native bool
	// unframed says that a file which ends between two frames, or whose damaged bytes are sound like others, cannot be told from a sound one.
	unframed bool
}

var (
	anyRate  = []int{8000, 11025, 16000, 22050, 32000, 44100, 48000, 88200, 96000}
	aacLike  = []int{16000, 22050, 32000, 44100, 48000}
	opusRate = []int{48000}
	mpeg1    = []int{32000, 44100, 48000}
)

// writers are all formats that are compared: mp3 with another decoder of ffmpeg than the one that decodes for us, and with the decoder in Go. Others that ffmpeg
// would decode with itself are compared for their length, their framing and false alarms.
var writers = []writer{
	{ext: "wav", args: []string{"-c:a", "pcm_u8"}, rates: anyRate, sides: 8, native: true},
	{ext: "wav", args: []string{"-c:a", "pcm_s16le"}, rates: anyRate, sides: 8, native: true},
	{ext: "wav", args: []string{"-c:a", "pcm_s24le"}, rates: anyRate, sides: 8, native: true},
	{ext: "wav", args: []string{"-c:a", "pcm_s32le"}, rates: anyRate, sides: 2, native: true},
	{ext: "wav", args: []string{"-c:a", "pcm_f32le"}, rates: anyRate, sides: 2, native: true},
	{ext: "wav", args: []string{"-c:a", "pcm_f64le"}, rates: anyRate, sides: 2, native: true},
	{ext: "wav", args: []string{"-c:a", "adpcm_ms"}, rates: aacLike, sides: 2},
	{ext: "wav", args: []string{"-c:a", "pcm_mulaw"}, rates: aacLike, sides: 2},
	{ext: "flac", args: []string{"-sample_fmt", "s16"}, rates: []int{8000, 22050, 44100, 48000, 96000}, sides: 8, native: true},
	{ext: "flac", args: []string{"-sample_fmt", "s32"}, rates: []int{44100, 48000, 96000}, sides: 2, native: true},
	{ext: "mp3", args: []string{"-b:a", "128k"}, rates: mpeg1, sides: 2, native: true},
	{ext: "mp3", args: []string{"-q:a", "4"}, rates: mpeg1, sides: 2, native: true},
	{ext: "mp3", args: []string{"-b:a", "64k"}, rates: []int{16000, 22050, 24000, 8000, 12000}, sides: 2, native: true},
	{ext: "mp2", args: nil, rates: mpeg1, sides: 2},
	{ext: "ogg", args: []string{"-c:a", "libvorbis"}, rates: aacLike, sides: 2},
	{ext: "oga", args: []string{"-c:a", "flac"}, rates: aacLike, sides: 2},
	{ext: "opus", args: []string{"-c:a", "libopus"}, rates: opusRate, sides: 2},
	{ext: "aac", args: nil, rates: aacLike, sides: 2, unframed: true},
	{ext: "m4a", args: nil, rates: aacLike, sides: 2},
	{ext: "m4a", args: []string{"-movflags", "+faststart"}, rates: aacLike, sides: 2},
	{ext: "m4a", args: []string{"-c:a", "alac"}, rates: aacLike, sides: 2},
	{ext: "mov", args: []string{"-c:a", "pcm_s16be"}, rates: aacLike, sides: 2},
	{ext: "webm", args: []string{"-c:a", "libopus"}, rates: opusRate, sides: 2},
	{ext: "mka", args: []string{"-c:a", "flac"}, rates: aacLike, sides: 2},
	{ext: "avi", args: []string{"-c:a", "pcm_s16le"}, rates: aacLike, sides: 2},
	{ext: "flv", args: []string{"-c:a", "libmp3lame"}, rates: []int{22050, 44100}, sides: 2},
	{ext: "ts", args: []string{"-c:a", "mp2"}, rates: mpeg1, sides: 2, unframed: true},
	{ext: "aiff", args: nil, rates: anyRate, sides: 2},
	{ext: "caf", args: nil, rates: aacLike, sides: 2},
	{ext: "au", args: nil, rates: aacLike, sides: 2},
	{ext: "w64", args: nil, rates: aacLike, sides: 2},
	{ext: "wv", args: nil, rates: aacLike, sides: 2},
	{ext: "tta", args: nil, rates: aacLike, sides: 2},
	{ext: "wma", args: nil, rates: []int{22050, 44100}, sides: 2},
	{ext: "ac3", args: nil, rates: mpeg1, sides: 6, unframed: true},
	{ext: "eac3", args: nil, rates: mpeg1, sides: 2, unframed: true},
	{ext: "dts", args: []string{"-strict", "-2"}, rates: []int{44100, 48000}, sides: 2, unframed: true},
	{ext: "thd", args: []string{"-strict", "-2"}, rates: []int{44100, 48000}, sides: 2, unframed: true},
	{ext: "wav", args: []string{"-rf64", "always"}, rates: aacLike, sides: 2},
	{ext: "spx", args: []string{"-c:a", "libspeex"}, rates: []int{8000, 16000, 32000}, sides: 2},
	{ext: "wma", args: []string{"-c:a", "wmav1"}, rates: []int{22050, 44100}, sides: 2},
	{ext: "mpg", args: []string{"-c:a", "mp2"}, rates: mpeg1, sides: 2, unframed: true},
	{ext: "voc", args: nil, rates: aacLike, sides: 1, unframed: true},
}

// madeFile is one file of the differential test.
type madeFile struct {
	writer
	name           string
	data           []byte
	rate, channels int
	seconds        float64
}

// makeFile writes the n-th file. Which it is depends on n alone.
func makeFile(t testing.TB, ffmpeg, folder string, n int) madeFile {
	t.Helper()
	rnd := rand.New(rand.NewPCG(uint64(n), 2026))
	w := writers[n%len(writers)]
	f := madeFile{writer: w, rate: w.rates[rnd.IntN(len(w.rates))], seconds: 0.5 + 2.5*rnd.Float64()}
	sides := []int{1, 2}
	if w.sides > 2 {
		sides = append(sides, 6)
	}
	f.channels = sides[rnd.IntN(len(sides))]
	f.channels = min(f.channels, w.sides)
	f.name = fmt.Sprintf("%03d-%dHz-%dch.%s", n, f.rate, f.channels, w.ext)
	in, out := filepath.Join(folder, strconv.Itoa(n)+".in.wav"), filepath.Join(folder, f.name)
	require.NoError(t, os.WriteFile(in, melody(rnd, f), 0o600))
	args := append([]string{"-nostdin", "-loglevel", "error", "-threads", "1", "-i", in}, w.args...)
	if rnd.IntN(2) == 0 {
		args = append(args, "-metadata", "title=Für Elise", "-metadata", "artist=Somebody else")
	}
	said, err := exec.CommandContext(t.Context(), ffmpeg, append(args, "-bitexact", "-y", out)...).CombinedOutput()
	require.NoError(t, err, "%s: %s", f.name, said)
	f.data, err = os.ReadFile(out)
	require.NoError(t, err)
	return f
}

// melody is notes with a little noise, other on each channel, as wav of 32-bit float.
func melody(rnd *rand.Rand, f madeFile) []byte {
	frames := int(f.seconds * float64(f.rate))
	x := make([]float64, 0, frames*f.channels)
	hz := 0.0
	for i := range frames {
		if i%(f.rate/5) == 0 {
			hz = 110 * math.Exp2(float64(rnd.IntN(30))/12)
		}
		for c := range f.channels {
			x = append(x, 0.4*math.Sin(2*math.Pi*hz*float64(i)/float64(f.rate)+float64(c)/3)+0.01*rnd.Float64())
		}
	}
	return asFloats(x, f.rate, f.channels)
}

func asFloats(x []float64, rate, channels int) []byte {
	out := buildWAV(wavSpec{tag: wavFloat, bits: 32, channels: 1, rate: rate}, x)
	return patch16(patch16(out, 22, uint16(channels)), 32, uint16(4*channels))
}

// byFFmpeg decodes with ffmpeg alone and mixes and resamples what comes as we do. silence says how many frames of silence come first.
func byFFmpeg(t testing.TB, ffmpeg, path string, f madeFile) []int16 {
	t.Helper()
	args := []string{"-nostdin", "-loglevel", "error", "-threads", "1"}
	silence := 0
	if f.ext == "mp3" {
		args = append(args, "-flags2", "skip_manual") // the delay of the encoder stays, as in ours
		at, _ := findMP3(f.data, sureFrames)
		h, _ := parseMP3Header(f.data[at:])
		silence = h.samples // ffmpeg leaves out the frame with the encoder's header
	}
	args = append(args, "-i", path, "-map", "0:a:0", "-f", "f32le", "-c:a", "pcm_f32le", "pipe:1")
	raw, err := exec.CommandContext(t.Context(), ffmpeg, args...).Output()
	require.NoError(t, err)
	x := make([]float64, silence*f.channels, silence*f.channels+len(raw)/4)
	for ; len(raw) >= 4; raw = raw[4:] {
		x = append(x, float64(math.Float32frombits(binary.LittleEndian.Uint32(raw))))
	}
	pcm, _, err := decodeBytes(t, newTestDecoder(t, withoutFFmpeg), asFloats(x, f.rate, f.channels))
	require.NoError(t, err)
	return pcm
}

// differentialFiles is how many files are compared, and in how many places each is cut and damaged: one of each format here, what
// LARK_DIFFERENTIAL tells, such as 500,20, by make test-audio-differential.
func differentialFiles(t *testing.T) (files, places int) {
	t.Helper()
	told := os.Getenv("LARK_DIFFERENTIAL")
	if told == "" {
		return len(writers), 1
	}
	_, err := fmt.Sscanf(told, "%d,%d", &files, &places)
	require.NoError(t, err, "LARK_DIFFERENTIAL is files,places")
	return files, places
}

// passedFiles are the files of a long run that have passed, so that a run which was stopped goes on where it was: the lines of the file that
// LARK_DIFFERENTIAL_PASSED names.
type passedFiles struct {
	before map[int]bool
	places int
	mu     sync.Mutex
	file   *os.File
}

func openPassed(t *testing.T, files, places int) *passedFiles {
	t.Helper()
	p := &passedFiles{before: map[int]bool{}}
	path := os.Getenv("LARK_DIFFERENTIAL_PASSED")
	if path == "" {
		return p
	}
	lines, err := os.ReadFile(path)
	if !errors.Is(err, fs.ErrNotExist) {
		require.NoError(t, err)
	}
	for n := range files {
		p.before[n] = bytes.Contains(lines, p.line(n, places))
	}
	p.places = places
	p.file, err = os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, p.file.Close()) })
	return p
}

func (p *passedFiles) line(n, places int) []byte {
	return fmt.Appendf(nil, "file %d in %d places\n", n, places)
}

func (p *passedFiles) has(n int) bool { return p.before[n] }

func (p *passedFiles) add(t *testing.T, n int) {
	t.Helper()
	if p.file == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := p.file.Write(p.line(n, p.places))
	require.NoError(t, err)
}

func TestDifferential(t *testing.T) {
	t.Parallel()
	d := newTestDecoder(t)
	needFFmpeg(t, d)
	folder := t.TempDir()
	files, places := differentialFiles(t)
	passed := openPassed(t, files, places)
	for n := range files {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			t.Parallel()
			if passed.has(n) {
				t.Skip("passed before")
			}
			f := makeFile(t, d.FFmpeg(), folder, n)
			pcm, info, err := decodeBytes(t, d, f.data)
			require.NoError(t, err, f.name)
			require.Empty(t, damageOf(info), "a false alarm for %s", f.name)
			require.GreaterOrEqual(t, info.Seconds(), f.seconds-0.06, "%s is short", f.name)
			if f.native {
				want := byFFmpeg(t, d.FFmpeg(), filepath.Join(folder, f.name), f)
				requireSameSound(t, f, want, pcm)
				f.requireSameOrInexactInGo(t, want)
			}
			rnd := rand.New(rand.NewPCG(uint64(n), 7))
			for range places {
				f.requireNeverSilentlyShort(t, d, info.Seconds(), f.data[:1+rnd.IntN(len(f.data)-1)], "cut")
				f.requireNeverSilentlyShort(t, d, info.Seconds(), spoiled(rnd, f.data), "damaged")
			}
			passed.add(t, n)
		})
	}
}

// requireSameSound compares samples: to one step of 16 bits, of mp3 to three, since each side and their mean are rounded and then resampled.
func requireSameSound(t *testing.T, f madeFile, want, got []int16) {
	t.Helper()
	tolerance := 1
	if f.ext == "mp3" {
		tolerance = 3
	}
	require.InDelta(t, len(want), len(got), 1, f.name)
	require.LessOrEqual(t, farthest(want, got), tolerance, "%s sounds otherwise", f.name)
}

// requireSameOrInexactInGo accepts of the decoder in Go the same sound to a thousandth of full scale, or word that it is not.
func (f madeFile) requireSameOrInexactInGo(t *testing.T, want []int16) {
	t.Helper()
	if f.ext != "mp3" {
		return
	}
	got, info, err := decodeBytes(t, newTestDecoder(t, withoutFFmpeg), f.data)
	if CodeOf(err) == NeedsFFmpeg {
		return
	}
	require.NoError(t, err)
	require.InDelta(t, len(want), len(got), 1, f.name)
	require.True(t, farthest(want, got) <= 33 || info.has(InexactStereo), "%s sounds otherwise in Go", f.name)
}

// requireNeverSilentlyShort accepts an error, a warning, or the whole length.
func (f madeFile) requireNeverSilentlyShort(t *testing.T, d *Decoder, whole float64, data []byte, how string) {
	t.Helper()
	_, info, err := decodeBytes(t, d, data)
	if err != nil {
		require.NotEmpty(t, CodeOf(err), "%s %s: %v", f.name, how, err)
		return
	}
	if len(damageOf(info)) > 0 || f.unframed {
		return
	}
	require.GreaterOrEqual(t, info.Seconds(), whole-0.08, "%s, %s at %d of %d bytes, is silently short", f.name, how, len(data), len(f.data))
	require.LessOrEqual(t, info.Seconds(), whole+0.08, "%s, %s at %d of %d bytes, is silently longer", f.name, how, len(data), len(f.data))
}

func damageOf(info Info) (out []Warning) {
	for _, w := range info.Warnings() {
		if w.Code.Damage() {
			out = append(out, w)
		}
	}
	return out
}

// spoiled has some bytes overwritten.
func spoiled(rnd *rand.Rand, data []byte) []byte {
	out := bytes.Clone(data)
	at := rnd.IntN(len(out))
	for i := at; i < min(at+64, len(out)); i++ {
		out[i] = byte(rnd.IntN(256))
	}
	return out
}

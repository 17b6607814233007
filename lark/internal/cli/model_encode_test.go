package cli

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/lab/bench"
)

const jukeboxData = "../../../engine/encoder/jukebox/testdata"

// smallJukebox imports the small checkpoints whose outputs lie in jukeboxData.
func smallJukebox(t *testing.T) string {
	t.Helper()
	data := filepath.Join("..", "..", "..", "engine", "model", "testdata", "jukebox")
	dir := filepath.Join(t.TempDir(), "bundle")
	code, _, errs := run(t, "model", "import", "jukebox", "--vqvae", filepath.Join(data, "vqvae.pth.tar"),
		"--prior", filepath.Join(data, "prior_level_2.pth.tar"), "--layers", "6", "--heads", "2", "--out", dir)
	require.Equal(t, exitOK, code, errs)
	return dir
}

func TestModelEncodeWritesTheReferencesArrays(t *testing.T) {
	t.Parallel()
	dir, to := smallJukebox(t), t.TempDir()
	codes, frames := filepath.Join(to, "codes.npy"), filepath.Join(to, "frames.npy")
	code, out, errs := run(t, "model", "encode", "--model", dir, "--codes", codes, "--out", frames, filepath.Join(jukeboxData, "silence.wav"))
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "silence.wav: 20 frames of 64 values from 2.000 s in ")
	require.Equal(t, read(t, filepath.Join(jukeboxData, "silence_codes.npy")), read(t, codes))
	sameFrames(t, filepath.Join(jukeboxData, "silence_pooled.npy"), frames)
}

// 16-bit and 32-bit files of the same samples give the same frames, and a clip of exactly one frame is not too short.
func TestModelEncodeOfSeveralFiles(t *testing.T) {
	t.Parallel()
	dir, to := smallJukebox(t), filepath.Join(t.TempDir(), "frames")
	code, out, errs := run(t, "model", "encode", "--model", dir, "--out", to, filepath.Join(jukeboxData, "short.wav"),
		filepath.Join(jukeboxData, "too_short.wav"), filepath.Join(jukeboxData, "short_float32.wav"), filepath.Join(jukeboxData, "edge.wav"))
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "too_short.wav: window is too short for the model")
	require.Contains(t, out, "edge.wav: 1 frames", "the files behind the one that failed are encoded")
	sameFrames(t, filepath.Join(jukeboxData, "short_pooled.npy"), filepath.Join(to, "short.wav.npy"))
	sameFrames(t, filepath.Join(jukeboxData, "edge_pooled.npy"), filepath.Join(to, "edge.wav.npy"))
	require.Equal(t, read(t, filepath.Join(to, "short.wav.npy")), read(t, filepath.Join(to, "short_float32.wav.npy")))
}

// Frames of devices are compared in encoder-svc; a process holds one set of libraries, and another test here needs there to be none.
func TestModelEncodeNeedsTheDevice(t *testing.T) {
	t.Setenv("LARK_NATIVE_DIR", t.TempDir())
	code, _, errs := run(t, "model", "encode", "--model", smallJukebox(t), "--device", "vulkan:1", "x.wav")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "opening device vulkan:1")
	require.Contains(t, errs, "make native")
	code, _, errs = run(t, "model", "encode", "--model", smallJukebox(t), "--device", "tpu", "x.wav")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, `"tpu" is not cpu, auto, cuda`)
}

func TestModelEncodeSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	code, _, errs := run(t, "model", "encode", "x.wav")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "--model is needed")
	code, _, errs = run(t, "model", "encode", "--model", "../../../models/lark-nano", "x.wav")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, `engine "nano", not jukebox`)
	code, _, errs = run(t, "model", "encode", "--model", "../../../models/lark-nano", "--precision", "fp8", "x.wav")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, `precision "fp8" is not one of [f32 bf16x2 bf16]`)
	code, _, errs = run(t, "bench", "precisions", "--model", "x", "--depths", "0")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "--depths")
	code, _, errs = run(t, "bench", "encoder", "--model", t.TempDir())
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "model bundle")
}

// One process of the benchmark of the encoder: 1 s are 344 codes and 10 frames of 64 values.
func TestBenchWindowTellsEveryPart(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	codes, frames := filepath.Join(dir, "codes"), filepath.Join(dir, "frames")
	code, out, errs := run(t, "bench", "window", "--model", smallJukebox(t), "--seconds", "1", "--layers", "3", "--codes", codes, "--frames", frames)
	require.Equal(t, exitOK, code, errs)
	var got bench.EncoderRun
	require.NoError(t, json.Unmarshal([]byte(out), &got))
	require.Equal(t, 3, got.Layers)
	names, seconds := map[string]bool{}, 0.0
	for _, p := range got.Parts {
		names[p.Name] = true
		seconds += p.CoreSeconds
		require.Equal(t, p.Name != "rest" && p.Name != "packing", p.GFLOP > 0, p.Name)
	}
	require.Equal(t, map[string]bool{"vq-vae": true, "projections": true, "attention": true, "mlp": true, "packing": true, "rest": true}, names)
	require.Positive(t, seconds)
	require.LessOrEqual(t, seconds, got.CoreSeconds+0.01)
	for _, p := range bench.Precisions() {
		require.Positive(t, got.Ceilings[p], p)
	}
	require.Len(t, read(t, codes), 8192*4)
	require.Len(t, read(t, frames), 10*64*4)
	code, _, errs = run(t, "bench", "window", "--model", smallJukebox(t), "--layers", "7")
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "it has 6 layers, not 7")
}

func TestBenchEncoderRefusesWhatItCannotMeasure(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{}, {"--model", "x", "--rounds", "0"}, {"--model", "x", "--layers", "-1"}, {"--model", "x", "--precision", "int8"}} {
		code, _, _ := run(t, append([]string{"bench", "encoder"}, args...)...)
		require.Equal(t, exitUsage, code, args)
	}
}

func TestBenchPrecisionsGivesTheErrorsBehindEachDepth(t *testing.T) {
	t.Parallel()
	code, out, errs := run(t, "bench", "precisions", "--model", smallJukebox(t), "--seconds", "0.3", "--depths", "1,6,36", "--json")
	require.Equal(t, exitOK, code, errs)
	var report bench.PrecisionsReport
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.Equal(t, 3, report.Frames)
	require.Len(t, report.Errors, 4, "two precisions, two depths that there are")
	for i, e := range report.Errors {
		require.Equal(t, []int{1, 6}[i%2], e.Layers)
		low, high := 1e-3, 1e-2
		if e.Precision == "bf16x2" {
			low, high = 1e-7, 1e-5
		}
		require.Greater(t, e.Median, low, e)
		require.Less(t, e.Worst, high, e)
		require.LessOrEqual(t, e.Median, e.Worst)
	}
}

func TestModelEncodeInBfloat16(t *testing.T) {
	t.Parallel()
	dir, to := smallJukebox(t), t.TempDir()
	frames := map[string][]byte{}
	for _, precision := range []string{"f32", "bf16x2", "bf16"} {
		path := filepath.Join(to, precision+".npy")
		code, _, errs := run(t, "model", "encode", "--model", dir, "--precision", precision, "--out", path, filepath.Join(jukeboxData, "edge.wav"))
		require.Equal(t, exitOK, code, errs)
		frames[precision] = read(t, path)
	}
	sameFrames(t, filepath.Join(jukeboxData, "edge_pooled.npy"), filepath.Join(to, "bf16x2.npy"))
	require.NotEqual(t, frames["f32"], frames["bf16"])
	require.NotEqual(t, frames["f32"], frames["bf16x2"])
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	require.NoError(t, err)
	return raw
}

func sameFrames(t *testing.T, want, got string) {
	t.Helper()
	w, g := read(t, want), read(t, got)
	require.Equal(t, w[:128], g[:128], "type and shape")
	require.Len(t, g, len(w))
	for at := 128; at < len(w); at += 4 {
		require.InDelta(t, math.Float32frombits(binary.LittleEndian.Uint32(w[at:])), math.Float32frombits(binary.LittleEndian.Uint32(g[at:])), 5e-5)
	}
}

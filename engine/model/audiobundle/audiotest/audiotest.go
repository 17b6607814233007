// Package audiotest gives tests the golden data of models that hear through an encoder of Whisper's kind: what the reference makes of clips,
// with small random weights (testdata/README.md).
package audiotest

import (
	"encoding/binary"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
)

// Families are the families of models, as the golden data name them, and Clips the clips.
var (
	Families = []string{"qwen2_5_omni", "audioflamingo3", "musicflamingo", "qwen2_audio"}
	Clips    = []string{"short", "w25", "w30", "long", "silence", "src44k"}
)

// DirEnv names another set of golden data.
const DirEnv = "LARK_GOLDEN_WHISPER"

// Path is a file of the golden data.
func Path(elements ...string) string {
	dir := os.Getenv(DirEnv)
	if dir == "" {
		_, file, _, _ := runtime.Caller(0) //nolint:dogsled // only the file matters
		dir = filepath.Join(filepath.Dir(file), "testdata")
	}
	return filepath.Join(append([]string{dir}, elements...)...)
}

// Manifest is what the golden data say of themselves.
type Manifest struct {
	Question   string
	Cases      map[string]map[string]Case
	Clips      map[string]struct{ Source string }
	Tolerances map[string]float64 `json:"tolerances_abs"`
}

// Case is what a family makes of a clip.
type Case struct {
	Samples, Tokens, Prompt int
	Frames                  []int
	Prefix, Suffix          string
}

// Load reads the manifest.
func Load(t testing.TB) Manifest {
	t.Helper()
	raw, err := os.ReadFile(Path("manifest.json"))
	require.NoError(t, err)
	var m Manifest
	require.NoError(t, json.Unmarshal(raw, &m))
	return m
}

// Array reads a file of NumPy with one or two dimensions of int32 or float32, and gives the columns of a row.
func Array[T int32 | float32](t testing.TB, elements ...string) (values []T, columns int) {
	t.Helper()
	raw, err := os.ReadFile(Path(elements...))
	require.NoError(t, err)
	require.Equal(t, "\x93NUMPY\x01", string(raw[:7]))
	start := 10 + int(binary.LittleEndian.Uint16(raw[8:]))
	header := string(raw[10:start])
	kind := "'<i4'"
	if _, float := any(values).([]float32); float {
		kind = "'<f4'"
	}
	require.Contains(t, header, kind, "%v", elements)
	values = make([]T, (len(raw)-start)/4)
	_, err = binary.Decode(raw[start:], binary.LittleEndian, values)
	require.NoError(t, err)
	_, shape, _ := strings.Cut(header, "'shape': (")
	shape, _, _ = strings.Cut(shape, ")")
	sizes := strings.Split(strings.ReplaceAll(shape, " ", ""), ",")
	columns = 1
	if len(sizes) > 1 && sizes[1] != "" {
		require.NoError(t, json.Unmarshal([]byte(sizes[1]), &columns))
	}
	return values, columns
}

// Near compares an array [n, columns] with a golden file; where a file .rows.npy lies beside it, with those rows of the array.
func Near(t testing.TB, got []float32, tolerance float64, elements ...string) {
	t.Helper()
	want, columns := Array[float32](t, elements...)
	last := len(elements) - 1
	beside := append(slices.Clone(elements[:last]), strings.TrimSuffix(elements[last], ".npy")+".rows.npy")
	if _, err := os.Stat(Path(beside...)); err == nil {
		rows, _ := Array[int32](t, beside...)
		var chosen []float32
		for _, r := range rows {
			require.LessOrEqual(t, (int(r)+1)*columns, len(got), "%v: row %d", elements, r)
			chosen = append(chosen, got[int(r)*columns:][:columns]...)
		}
		got = chosen
	}
	require.Len(t, got, len(want), "%v", elements)
	worst, at := 0.0, 0
	for i, v := range want {
		d := float64(v - got[i])
		if d != d || max(d, -d) > worst {
			worst, at = max(d, -d), i
		}
	}
	require.LessOrEqual(t, worst, tolerance, "%v: value %d of row %d", elements, at%columns, at/columns)
	t.Logf("%s: %.2g of %.2g", filepath.Join(elements...), worst, tolerance)
}

// Samples are the samples of a clip at 16 kHz.
func Samples(t testing.TB, clip string) []float32 {
	t.Helper()
	if clip == "src44k" {
		x, _ := Array[float32](t, "clips", "short_44k.resampled.npy")
		return x
	}
	c := Load(t)
	n := c.Cases[Families[0]][clip].Samples
	out := make([]float32, n)
	if clip == "silence" {
		return out
	}
	first := 0
	_, at, _ := strings.Cut(c.Clips[clip].Source, "samples [")
	at, _, _ = strings.Cut(at, ",")
	require.NoError(t, json.Unmarshal([]byte(at), &first))
	for i, v := range PCM(t)[first : first+n] {
		out[i] = float32(v) / (1 << 15)
	}
	return out
}

// PCM is the long clip, of which the others are cuts: 16 kHz, 16 bit, mono.
func PCM(t testing.TB) []int16 {
	t.Helper()
	raw, err := os.ReadFile(Path("clips", "long_16k.wav"))
	require.NoError(t, err)
	const header = 44
	pcm := make([]int16, (len(raw)-header)/2)
	_, err = binary.Decode(raw[header:], binary.LittleEndian, pcm)
	require.NoError(t, err)
	return pcm
}

// Config imports a family's pair of GGUF files (form gguf) or Hugging Face folder (hf).
func Config(family, form string) audiobundle.ImportConfig {
	if form == "hf" {
		return audiobundle.ImportConfig{Folder: Path(family, "hf"), AcceptLicence: true}
	}
	return audiobundle.ImportConfig{LLM: Path(family, "gguf", "llm-f16.gguf"), MMProj: Path(family, "gguf", "mmproj-f16.gguf"), AcceptLicence: true}
}

// Bundle imports a family's model.
func Bundle(t testing.TB, family, form string) *model.Bundle {
	t.Helper()
	cfg := Config(family, form)
	cfg.Out = filepath.Join(t.TempDir(), family)
	_, err := audiobundle.Import(t.Context(), cfg, func(int64, int64) {})
	require.NoError(t, err)
	b, err := model.LoadComplete(cfg.Out)
	require.NoError(t, err)
	return b
}

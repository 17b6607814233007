// Package jukeboxtest gives tests of engines that run Jukebox's encoder what the original code computed: small checkpoints of random
// weights, clips, codes, intermediate values and frames.
package jukeboxtest

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/jukeboxbundle"
)

// folder of this file.
func folder() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(file)
}

// Import imports the small checkpoints into dir and maps the bundle's weights. It is for once in a package, so there is no test to fail.
func Import(dir string) (map[string]any, *model.Mapped, error) {
	from := filepath.Join(folder(), "../../../model/testdata/jukebox")
	cfg := jukeboxbundle.ImportConfig{
		VQVAE: filepath.Join(from, "vqvae.pth.tar"), Prior: filepath.Join(from, "prior_level_2.pth.tar"), Layers: 6, Heads: 2, Blocks: 128, Out: dir,
	}
	m, err := jukeboxbundle.Import(context.Background(), cfg, func(int64, int64) {})
	if err != nil {
		return nil, nil, err
	}
	weights, err := model.OpenMapped(filepath.Join(dir, jukeboxbundle.File))
	return m.Encoder.Config, weights, err
}

// Bundle writes a bundle of random weights that hears 3 s and gives frames of width 48.
func Bundle(t testing.TB) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bundle")
	_, err := jukeboxbundle.RandomOf(t.Context(), jukeboxbundle.Config{
		Layers: 3, Heads: 2, Blocks: 16, Context: 1024, Width: 48, State: 12, MLP: 40,
		Bins: 64, CodeWidth: 64, ConvWidth: 32, Genres: 4, Artists: 5,
	}, jukeboxbundle.RandomConfig{Seed: 1, Out: dir}, func(int64, int64) {})
	require.NoError(t, err)
	return dir
}

// Clip reads a 16-bit mono WAV.
func Clip(t testing.TB, name string) []int16 {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(folder(), "../testdata", name+".wav"))
	require.NoError(t, err)
	for at := 12; at+8 <= len(raw); {
		size := int(binary.LittleEndian.Uint32(raw[at+4:]))
		if string(raw[at:at+4]) == "data" {
			pcm := make([]int16, size/2)
			_, err := binary.Decode(raw[at+8:at+8+size], binary.LittleEndian, pcm)
			require.NoError(t, err)
			return pcm
		}
		at += 8 + size + size%2
	}
	t.Fatalf("%s has no data", name)
	return nil
}

// Array reads an array of a .npy file, version 1.0, C order.
func Array[T int32 | float32](t testing.TB, name string) []T {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(folder(), "../testdata", name+".npy"))
	require.NoError(t, err)
	require.True(t, bytes.HasPrefix(raw, []byte("\x93NUMPY\x01\x00")))
	header := 10 + int(binary.LittleEndian.Uint16(raw[8:]))
	var zero T
	kind := map[bool]string{true: "'<i4'", false: "'<f4'"}[fmt.Sprintf("%T", zero) == "int32"]
	require.Contains(t, string(raw[10:header]), kind)
	require.Contains(t, string(raw[10:header]), "'fortran_order': False")
	values := make([]T, (len(raw)-header)/4)
	_, err = binary.Decode(raw[header:], binary.LittleEndian, values)
	require.NoError(t, err)
	return values
}

// Near demands that the largest difference is within tolerance, and that there is something to compare.
func Near(t testing.TB, want, got []float32, tolerance float64, what string) {
	t.Helper()
	require.NotEmpty(t, want, what)
	require.Len(t, got, len(want), what)
	worst := 0.0
	for i := range want {
		if d := math.Abs(float64(want[i]) - float64(got[i])); d > worst || math.IsNaN(d) {
			worst = d
		}
	}
	require.LessOrEqual(t, worst, tolerance, what)
	t.Logf("%s: largest difference %.2g of %.2g allowed", what, worst, tolerance)
}

// Rows picks rows of x [n, width].
func Rows(x []float32, width int, rows []int32) []float32 {
	var out []float32
	for _, r := range rows {
		out = append(out, x[int(r)*width:][:width]...)
	}
	return out
}

package jukebox

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/shared/model"
	"github.com/larkstream/larkstream/shared/model/jukebox"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "jukebox")
	if err != nil {
		panic(err)
	}
	scratch = dir
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = os.RemoveAll(dir)
		os.Exit(code) //nolint:forbidigo // this is the main of the tests
	}))
}

// scratch is removed when all tests are done.
var scratch string

// bundle is the small checkpoints, imported once, as New takes them.
var bundle = sync.OnceValues(func() (func(Options) (*Encoder, error), error) {
	const dir = "../../../../shared/model/testdata/jukebox/"
	out := filepath.Join(scratch, "bundle")
	cfg := jukebox.ImportConfig{VQVAE: dir + "vqvae.pth.tar", Prior: dir + "prior_level_2.pth.tar", Layers: 6, Heads: 2, Blocks: 128, Out: out}
	m, err := jukebox.Import(context.Background(), cfg, func(int64, int64) {})
	if err != nil {
		return nil, err
	}
	c, err := ConfigOf(m.Encoder.Config)
	if err != nil {
		return nil, err
	}
	weights, err := model.OpenMapped(filepath.Join(out, jukebox.File))
	if err != nil {
		return nil, err
	}
	return func(o Options) (*Encoder, error) { return New(c, weights, o) }, nil
})

// golden is the encoder in float32.
var golden = sync.OnceValues(func() (*Encoder, error) { return openGolden(Options{}) })

func openGolden(o Options) (*Encoder, error) {
	open, err := bundle()
	if err != nil {
		return nil, err
	}
	return open(o)
}

func goldenEncoder(t *testing.T) *Encoder {
	t.Helper()
	e, err := golden()
	require.NoError(t, err)
	return e
}

// clip reads a 16-bit mono WAV.
func clip(t *testing.T, name string) []int16 {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".wav"))
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

// array reads an array of a .npy file, version 1.0, C order.
func array[T int32 | float32](t *testing.T, name string) []T {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join("testdata", name+".npy"))
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

// near demands that the largest difference is within tolerance, and that there is something to compare.
func near(t *testing.T, want, got []float32, tolerance float64, what string) {
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

// rowsOf picks rows of x [n, width].
func rowsOf(x []float32, width int, rows []int32) []float32 {
	var out []float32
	for _, r := range rows {
		out = append(out, x[int(r)*width:][:width]...)
	}
	return out
}

package jukebox

import (
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/encoder/jukebox/jukeboxtest"
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
	values, weights, err := jukeboxtest.Import(filepath.Join(scratch, "bundle"))
	if err != nil {
		return nil, err
	}
	c, err := ConfigOf(values)
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

func clip(t *testing.T, name string) []int16 {
	t.Helper()
	return jukeboxtest.Clip(t, name)
}

func array[T int32 | float32](t *testing.T, name string) []T {
	t.Helper()
	return jukeboxtest.Array[T](t, name)
}

func near(t *testing.T, want, got []float32, tolerance float64, what string) {
	t.Helper()
	jukeboxtest.Near(t, want, got, tolerance, what)
}

func rowsOf(x []float32, width int, rows []int32) []float32 { return jukeboxtest.Rows(x, width, rows) }

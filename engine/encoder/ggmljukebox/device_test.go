package ggmljukebox

import (
	"cmp"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/encoder/jukebox"
	"github.com/larkstream/larkstream/engine/encoder/jukebox/jukeboxtest"
	"github.com/larkstream/larkstream/engine/native/ggml"
	"github.com/larkstream/larkstream/engine/native/nativetest"
)

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "ggmljukebox")
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

// bundle is the small checkpoints, imported once, as jukebox.New takes them.
var bundle = sync.OnceValues(func() (func(jukebox.Options) (*jukebox.Encoder, error), error) {
	values, weights, err := jukeboxtest.Import(filepath.Join(scratch, "bundle"))
	if err != nil {
		return nil, err
	}
	c, err := jukebox.ConfigOf(values)
	if err != nil {
		return nil, err
	}
	return func(o jukebox.Options) (*jukebox.Encoder, error) { return jukebox.New(c, weights, o) }, nil
})

// device is what the tests run on: ggml's processor, or what LARK_TEST_DEVICE names in ggml's terms, such as Vulkan0, of the
// libraries in LARK_NATIVE_DIR.
func device(t *testing.T) (*ggml.Library, ggml.Device) {
	t.Helper()
	l, err := ggml.Open(nativetest.Dir(t), slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})))
	require.NoError(t, err)
	d, err := l.Device(cmp.Or(os.Getenv("LARK_TEST_DEVICE"), "CPU"))
	require.NoError(t, err)
	return l, d
}

// golden is the encoder of the small checkpoints.
func golden(t *testing.T, o jukebox.Options) *Encoder {
	t.Helper()
	open, err := bundle()
	require.NoError(t, err)
	o.CodesOnly = true
	front, err := open(o)
	require.NoError(t, err)
	return start(t, front, o.Windows)
}

// start opens the encoder on the device.
func start(t *testing.T, front *jukebox.Encoder, windows int) *Encoder {
	t.Helper()
	l, d := device(t)
	blocks := 0
	e, err := New(t.Context(), front, l, d, Options{Windows: windows, Threads: 1, Progress: func(done, total int) {
		require.Equal(t, front.Config().Layers, total)
		blocks = done
	}})
	require.NoError(t, err)
	t.Cleanup(e.Close)
	require.Equal(t, front.Config().Layers, blocks)
	return e
}

// now runs a batch on the device, whose loop has nothing to do.
func (e *Encoder) now(t *testing.T, codes ...[]int32) [][]float32 {
	t.Helper()
	frames, err := e.run(codes, func() bool { return false })
	require.NoError(t, err)
	return frames
}

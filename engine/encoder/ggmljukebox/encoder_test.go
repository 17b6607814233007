package ggmljukebox

import (
	"context"
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/engine/encoder/batch"
	"github.com/larkstream/larkstream/engine/encoder/jukebox"
	"github.com/larkstream/larkstream/engine/encoder/jukebox/jukeboxtest"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/jukeboxbundle"
	"github.com/larkstream/larkstream/engine/native/ggml"
)

func TestFromAudioToFrames(t *testing.T) { //nolint:paralleltest // one device
	e := golden(t, jukebox.Options{})
	frames, n, err := e.Encode(t.Context(), jukeboxtest.Clip(t, "short"))
	require.NoError(t, err)
	require.Equal(t, 1, n)
	jukeboxtest.Near(t, jukeboxtest.Array[float32](t, "short_pooled"), frames, pooledTolerance, "short")
	_, _, err = e.Encode(t.Context(), jukeboxtest.Clip(t, "too_short"))
	require.ErrorIs(t, err, jukebox.ErrTooShort)
}

// Windows that come at once each get their own frames, whichever run together.
func TestSeveralWindowsAtOnce(t *testing.T) { //nolint:paralleltest // one device
	e := golden(t, jukebox.Options{Windows: 2})
	names := []string{"edge", "short", "edge"}
	got := make([][]float32, len(names))
	group, ctx := errgroup.WithContext(t.Context())
	for i, name := range names {
		pcm := jukeboxtest.Clip(t, name)
		group.Go(func() (err error) {
			got[i], _, err = e.Encode(ctx, pcm)
			return err
		})
	}
	require.NoError(t, group.Wait())
	for i, name := range names {
		jukeboxtest.Near(t, jukeboxtest.Array[float32](t, name+"_pooled"), got[i], pooledTolerance, name)
	}
}

// At the real head dimension of 150, frames equal the Go engine's frames, which are themselves compared
// with float64 at full width.
func TestHeadsOfRealWidthAreTheGoEngines(t *testing.T) { //nolint:paralleltest // one device
	dir := t.TempDir()
	c := jukebox.Config{Config: jukeboxbundle.Config{
		Layers: 3, Heads: 8, Blocks: 8, Context: 512, Width: 320, State: 1200, MLP: 320, Bins: 64, CodeWidth: 8, ConvWidth: 4, Genres: 2, Artists: 2,
	}}
	_, err := jukeboxbundle.RandomOf(t.Context(), c.Config, jukeboxbundle.RandomConfig{Seed: 3, Out: dir}, func(int64, int64) {})
	require.NoError(t, err)
	weights, err := model.OpenMapped(filepath.Join(dir, jukeboxbundle.File))
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, weights.Close()) })
	reference, err := jukebox.New(c, weights, jukebox.Options{})
	require.NoError(t, err)
	pcm := jukeboxtest.Clip(t, "medium")[:200*jukeboxbundle.Hop]
	want, _, err := reference.Encode(t.Context(), pcm)
	require.NoError(t, err)
	got, n, err := start(t, reference, 0).Encode(t.Context(), pcm)
	require.NoError(t, err)
	require.Equal(t, 5, n)
	squares := 0.0
	for _, v := range want {
		squares += float64(v) * float64(v)
	}
	jukeboxtest.Near(t, want, got, 2e-5*math.Sqrt(squares/float64(len(want))), "frames")
}

func TestAWindowEndsWithItsContext(t *testing.T) { //nolint:paralleltest // one device
	e := golden(t, jukebox.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	last := 0
	e.after = func(part int) {
		if last = part; part == 1 {
			cancel()
		}
	}
	_, _, err := e.Encode(ctx, jukeboxtest.Clip(t, "short"))
	require.ErrorIs(t, err, context.Canceled)
	_, n, err := e.Encode(t.Context(), jukeboxtest.Clip(t, "edge"))
	require.NoError(t, err, "the encoder goes on")
	require.Equal(t, 1, n)
	_, _, err = e.Encode(ctx, jukeboxtest.Clip(t, "edge"))
	require.ErrorIs(t, err, context.Canceled)
	e.Close()
	require.Equal(t, len(e.weights.blocks), last)
}

func TestABatchEndsWhenNobodyWaitsForIt(t *testing.T) { //nolint:paralleltest // one device
	e := golden(t, jukebox.Options{Windows: 2})
	parts := 0
	e.after = func(int) { parts++ }
	_, err := e.run([][]int32{kept(t, "short", 1), kept(t, "edge", 1)}, func() bool { return parts == 3 })
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, 3, parts)
	frames := e.now(t, kept(t, "edge", 1))[0]
	jukeboxtest.Near(t, jukeboxtest.Array[float32](t, "edge_pooled"), frames, pooledTolerance, "the encoder goes on")
}

func TestAClosedEncoderEncodesNothing(t *testing.T) { //nolint:paralleltest // one device
	e := golden(t, jukebox.Options{})
	e.Close()
	e.Close()
	_, _, err := e.Encode(t.Context(), jukeboxtest.Clip(t, "edge"))
	require.ErrorIs(t, err, batch.ErrClosed)
}

// A device with room for fewer windows than asked for runs fewer at once. A buffer of lavapipe's holds 128 MiB, the weights of a
// block's attention of 32 windows.
func TestFewerWindowsWhereThereIsLessRoom(t *testing.T) { //nolint:paralleltest // one device
	e := golden(t, jukebox.Options{Windows: 100})
	want := 100
	if strings.Contains(e.device.Description, "llvmpipe") {
		want = 25
	}
	require.Equal(t, want, e.Windows())
	frames := e.now(t, kept(t, "edge", 1))[0]
	jukeboxtest.Near(t, jukeboxtest.Array[float32](t, "edge_pooled"), frames, pooledTolerance, "edge")
}

func TestADeviceThatLacksAnOperationIsRefused(t *testing.T) { //nolint:paralleltest // one device
	e := golden(t, jukebox.Options{})
	const codebookFormat = ggml.Type(16) // IQ2_XXS, which nothing converts to without a table
	err := e.supports(func(g *graph) []ggml.Tensor {
		return []ggml.Tensor{g.Cast(g.Rows(g.state.x, 256, 0, 1), codebookFormat)}
	})
	require.ErrorContains(t, err, "the device cannot run CPY of shape [256 1 1 1]")
}

func TestOpeningEndsWithItsContext(t *testing.T) { //nolint:paralleltest // one device
	open, err := bundle()
	require.NoError(t, err)
	front, err := open(jukebox.Options{CodesOnly: true})
	require.NoError(t, err)
	l, d := device(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := 0
	_, err = New(ctx, front, l, d, Options{Threads: 1, Progress: func(n, _ int) {
		done = n
		cancel()
	}})
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorContains(t, err, "opening the encoder on "+d.Name+": uploading the weights")
	require.Equal(t, 1, done)
}

func TestWindowsLieBlockByBlock(t *testing.T) {
	t.Parallel()
	l := layoutOf([]int{1, 73, 2}, 34, 64)
	require.Equal(t, layout{{0, 64, 1}, {64, 2496, 73}, {2560, 128, 2}}, l)
	require.Equal(t, 2688, l.positions())
}

package ggmljukebox

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/encoder/jukebox"
	"github.com/larkstream/larkstream/engine/encoder/jukebox/jukeboxtest"
	"github.com/larkstream/larkstream/engine/model/jukeboxbundle"
	"github.com/larkstream/larkstream/engine/native/ggml"
	"github.com/larkstream/larkstream/engine/tensor"
)

// The tolerances are the Go engine's tolerances in float32, see package jukebox.
const (
	embedTolerance  = 1e-5
	pooledTolerance = 5e-5
)

var layerTolerance = []float64{4e-5, 7e-5, 8e-5, 9e-5, 9e-5, 1e-4}

// kept are the codes that a clip's frames need.
func kept(t *testing.T, name string, frames int) []int32 {
	t.Helper()
	return jukeboxtest.Array[int32](t, name+"_codes")[:frames*jukeboxbundle.PoolFrames]
}

// Every intermediate result is the reference's, so that a fault is found where it arises. No position sees a later one, so that devices
// that are slow in tests need not run the whole clip.
func TestEveryStepIsTheReferences(t *testing.T) { //nolint:paralleltest // one device
	e := golden(t, jukebox.Options{})
	width, frames := e.config.Width, 240
	if e.device.Kind != ggml.CPU {
		frames = 4
	}
	rows := jukeboxtest.Array[int32](t, "rows")
	for int(rows[len(rows)-1]) >= frames*jukeboxbundle.PoolFrames {
		rows = rows[:len(rows)-1]
	}
	require.GreaterOrEqual(t, len(rows), 130, "two blocks and what follows them")
	steps := 0
	e.after = func(part int) {
		steps++
		if part == len(e.weights.blocks) {
			return
		}
		name, tolerance := "long_h_embed_rows", embedTolerance
		if part >= 0 {
			name, tolerance = fmt.Sprintf("long_layer%d_rows", part), layerTolerance[part]
		}
		x := make([]float32, frames*jukeboxbundle.PoolFrames*width)
		require.NoError(t, ggml.GetAt(e.state.x, 0, x))
		jukeboxtest.Near(t, jukeboxtest.Array[float32](t, name)[:len(rows)*width], jukeboxtest.Rows(x, width, rows), tolerance, name)
	}
	got := e.now(t, kept(t, "long", frames))
	require.Equal(t, 8, steps)
	jukeboxtest.Near(t, jukeboxtest.Array[float32](t, "long_pooled")[:frames*width], got[0], pooledTolerance, "long")
}

// With products in bfloat16 allowed, what the golden data's manifest allows for them: 0.1 and, on average, 0.02.
func TestFramesInBfloat16AreNearTheReferences(t *testing.T) { //nolint:paralleltest // one device
	e := golden(t, jukebox.Options{Precision: tensor.BF16})
	require.True(t, e.arithmetic.Rounded)
	want := jukeboxtest.Array[float32](t, "silence_pooled")
	frames := e.now(t, kept(t, "silence", 20))[0]
	jukeboxtest.Near(t, want, frames, 0.1, "silence")
	sum := 0.0
	for i, v := range frames {
		sum += math.Abs(float64(v - want[i]))
	}
	require.Less(t, sum/float64(len(frames)), 0.02)
}

// Clips of different lengths run together, and each gets the frames that the reference gives it.
func TestFramesOfABatchAreTheReferences(t *testing.T) { //nolint:paralleltest // one device
	e := golden(t, jukebox.Options{Windows: 4})
	names, lengths := []string{"short", "medium", "edge", "silence"}, []int{1, 73, 1, 20}
	var codes [][]int32
	for i, name := range names {
		codes = append(codes, kept(t, name, lengths[i]))
	}
	for i, frames := range e.now(t, codes...) {
		jukeboxtest.Near(t, jukeboxtest.Array[float32](t, names[i]+"_pooled"), frames, pooledTolerance, names[i])
	}
}

package jukebox

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/tensor"
)

// The expectations in testdata come from the original code on small random weights; the tolerances are those stated with them, about
// twenty times the difference between the original in float32 and an independent computation in float64.
const (
	latentTolerance = 8e-5
	embedTolerance  = 1e-5
	actsTolerance   = 8e-5
	pooledTolerance = 5e-5
)

var layerTolerance = []float64{4e-5, 7e-5, 8e-5, 9e-5, 9e-5, 1e-4}

func TestCodesOfEveryClipAreTheReferences(t *testing.T) {
	t.Parallel()
	e := goldenEncoder(t)
	names := []string{"long", "medium", "short", "silence", "edge", "too_short"}
	if raceDetector {
		names = names[:1]
	}
	for _, name := range names {
		codes, err := e.Codes(t.Context(), clip(t, name))
		require.NoError(t, err)
		require.Equal(t, array[int32](t, name+"_codes"), codes, name)
	}
}

func TestFramesOfEveryClipAreTheReferences(t *testing.T) {
	t.Parallel()
	e := goldenEncoder(t)
	for name, want := range map[string]int{"long": 240, "medium": 73, "short": 1, "silence": 20, "edge": 1} {
		if raceDetector && name == "long" {
			continue // every step of it is tested below
		}
		frames, n, err := e.Encode(t.Context(), clip(t, name))
		require.NoError(t, err, name)
		require.Equal(t, want, n, name)
		near(t, array[float32](t, name+"_pooled"), frames, pooledTolerance, name)
	}
	_, _, err := e.Encode(t.Context(), clip(t, "too_short"))
	require.ErrorIs(t, err, ErrTooShort)
	require.ErrorContains(t, err, "4351 samples")
}

// What is stated with the golden data for products in bfloat16 is 0.1 and, on average, 0.02; bf16x2 meets the tolerance of float32.
func TestFramesInBfloat16AreNearTheReferences(t *testing.T) {
	t.Parallel()
	kernel, _ := tensor.Kernel() // one asked for in vain is not the one in use
	for precision, limit := range map[tensor.Precision][2]float64{tensor.BF16: {0.1, 0.02}, tensor.BF16x2: {pooledTolerance, 1e-5}} {
		e, err := openGolden(Options{Precision: precision})
		require.NoError(t, err)
		for _, name := range []string{"medium", "silence", "short"} {
			if name == "medium" && (raceDetector || kernel == "go") {
				continue // the others have every step
			}
			frames, n, err := e.Encode(t.Context(), clip(t, name))
			require.NoError(t, err, name)
			want := array[float32](t, name+"_pooled")
			require.Len(t, frames, len(want))
			near(t, want, frames, limit[0], string(precision)+" "+name)
			sum := 0.0
			for i, v := range frames {
				sum += math.Abs(float64(v - want[i]))
			}
			require.Less(t, sum/float64(len(frames)), limit[1], "%s %s: mean difference of %d frames", precision, name, n)
			t.Logf("%s %s: mean difference %.2g", precision, name, sum/float64(len(frames)))
			w := <-e.free
			require.Equal(t, array[int32](t, name+"_codes")[:n*frameRows], w.codes[:n*frameRows], "codes of %s", name)
			e.free <- w
		}
	}
}

// Every intermediate result is the reference's, so that a fault is found where it arises.
func TestEveryStepIsTheReferences(t *testing.T) {
	t.Parallel()
	e := goldenEncoder(t)
	rows := array[int32](t, "rows")
	w, err := e.take(t.Context())
	require.NoError(t, err)
	defer func() { e.free <- w }()
	normalise(w.samples, clip(t, "long"))
	half := len(w.all) / 2
	latents, err := e.vqvae.encode(t.Context(), w.samples, w.all[:half], w.all[half:])
	require.NoError(t, err)
	near(t, array[float32](t, "long_latent_rows"), rowsOf(latents, e.config.CodeWidth, rows), latentTolerance, "latents")

	work, width := e.prior.divide(w.all, w.heads, w.packed), e.config.Width
	steps := 0
	err = e.prior.run(t.Context(), work, array[int32](t, "long_codes"), e.config.Context, e.mark, func(layer int, x []float32) {
		steps++
		if layer < 0 {
			near(t, array[float32](t, "long_h_embed_rows"), rowsOf(x, width, rows), embedTolerance, "embeddings")
			return
		}
		name := fmt.Sprintf("long_layer%d_rows", layer)
		near(t, array[float32](t, name), rowsOf(x, width, rows), layerTolerance[layer], name)
	})
	require.NoError(t, err)
	require.Equal(t, 7, steps)

	codes := array[int32](t, "short_codes")
	require.NoError(t, e.prior.run(t.Context(), work, codes, 51, e.mark, func(int, []float32) {}))
	near(t, array[float32](t, "short_acts"), work.x[:51*width], actsTolerance, "activations of the short clip")
}

func TestConditioningIsTheReferences(t *testing.T) {
	t.Parallel()
	e := goldenEncoder(t)
	absolute, relative := array[int32](t, "x_cond_a"), array[int32](t, "x_cond_r")
	require.Len(t, absolute, e.config.Context)
	for i := range absolute {
		require.Equal(t, [2]int{int(absolute[i]), int(relative[i])}, [2]int{absoluteBin(i), relativeBin(i)}, "position %d", i)
	}
	near(t, array[float32](t, "y_cond"), e.prior.condition.start, 1e-6, "start")
	var got []float32
	for _, position := range array[int32](t, "rows") {
		row := make([]float32, e.config.Width)
		e.prior.condition.addTo(row, int(position))
		got = append(got, row...)
	}
	near(t, array[float32](t, "x_cond_rows"), got, 1e-6, "conditioning")
}

// A clip's frames come from the part of the window that it fills; its codes there are those of the whole window.
func TestAShortClipsCodesAreThoseOfTheWholeWindow(t *testing.T) {
	t.Parallel()
	e := goldenEncoder(t)
	w, err := e.take(t.Context())
	require.NoError(t, err)
	defer func() { e.free <- w }()
	for _, name := range []string{"medium", "short", "silence", "edge"} {
		pcm := clip(t, name)
		rows := e.config.Frames(len(pcm)) * frameRows
		clear(w.codes)
		require.NoError(t, e.encodeCodes(t.Context(), w, pcm, rows))
		require.Equal(t, array[int32](t, name+"_codes")[:rows], w.codes[:rows], name)
	}
}

func TestFrameCounts(t *testing.T) {
	t.Parallel()
	c := goldenEncoder(t).Config()
	for samples, want := range map[int]int{0: 0, 4351: 0, 4352: 1, 5 * 44100: 50, 10 * 44100: 101, 20 * 44100: 202, 8160*128 - 1: 239, 8160 * 128: 240, 30 * 44100: 240} {
		require.Equal(t, want, c.Frames(samples), "%d samples", samples)
	}
}

func TestEncodingEndsWithItsContext(t *testing.T) {
	t.Parallel()
	e := goldenEncoder(t)
	ctx, cancel := context.WithCancel(t.Context())
	w, err := e.take(ctx)
	require.NoError(t, err)
	defer func() { e.free <- w }()
	var begun []Part
	err = e.prior.run(ctx, e.prior.divide(w.all, w.heads, w.packed), make([]int32, e.config.Context), e.config.Context, func(part Part) {
		begun = append(begun, part)
		if len(begun) == 2 { // in the first piece of the first layer
			cancel()
		}
	}, func(layer int, _ []float32) { require.Negative(t, layer, "no layer is finished") })
	require.ErrorIs(t, err, context.Canceled)
	require.Equal(t, []Part{PartPacking, PartRest, PartProjections}, begun, "the piece in hand is finished, the next not begun")
	_, err = e.vqvae.encode(ctx, w.samples, w.all, w.all)
	require.ErrorIs(t, err, context.Canceled)
	_, err = e.Codes(ctx, nil)
	require.ErrorIs(t, err, context.Canceled)
	_, _, err = e.Encode(ctx, make([]int16, MinSamples))
	require.ErrorIs(t, err, context.Canceled, "waiting for its turn ends too")
}

func TestOneWindowAfterAnotherInTheSameMemory(t *testing.T) {
	t.Parallel()
	e := goldenEncoder(t)
	pcm := clip(t, "silence")
	first, _, err := e.Encode(t.Context(), pcm)
	require.NoError(t, err)
	_, _, err = e.Encode(t.Context(), clip(t, "medium"))
	require.NoError(t, err)
	again, _, err := e.Encode(t.Context(), pcm)
	require.NoError(t, err)
	require.Equal(t, first, again)
}

// What is left behind as garbage doubles the memory of a window, as the collector waits for as much again.
func TestAWindowLeavesLittleGarbage(t *testing.T) { //nolint:paralleltest // all of the process is measured
	if raceDetector {
		t.Skip("pools drop memory under the race detector")
	}
	e := goldenEncoder(t)
	pcm := clip(t, "long")
	var before, after runtime.MemStats
	for _, m := range []*runtime.MemStats{&before, &after} {
		_, err := e.Codes(t.Context(), pcm)
		require.NoError(t, err)
		runtime.ReadMemStats(m)
	}
	require.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(64<<20))
}

//go:build unix

package ggmljukebox

import (
	"cmp"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/encoder/jukebox"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/jukeboxbundle"
	"github.com/larkstream/larkstream/engine/native/ggml"
	"github.com/larkstream/larkstream/engine/native/nativetest"
)

// BenchmarkFullWidth runs three blocks of Jukebox-5B's width, one of each pattern, on the frames that LARK_BENCH_FRAMES says (60), with the
// kernels of package jukebox and on the device, compares the results, and reports processor seconds for a block and a whole window.
func BenchmarkFullWidth(b *testing.B) {
	frames, err := strconv.Atoi(cmp.Or(os.Getenv("LARK_BENCH_FRAMES"), "60"))
	require.NoError(b, err)
	front := fullWidth(b, frames)
	pcm := make([]int16, frames*jukeboxbundle.PoolFrames*jukeboxbundle.Hop)
	for i := range pcm {
		pcm[i] = int16(8000*math.Sin(float64(i)/15) + 8000*math.Sin(float64(i)*float64(i)/1e7))
	}
	var codes []int32
	vqvae := processorSeconds(b, func() { codes, _, err = front.FrameCodes(b.Context(), pcm) })
	require.NoError(b, err)
	report := func(b *testing.B, seconds float64) {
		positions := float64(frames * jukeboxbundle.PoolFrames)
		b.ReportMetric(seconds/3/positions*8192, "core-s/block-of-8192")
		b.ReportMetric(0, "ns/op")
	}
	var want, got []float32
	b.Run("go", func(b *testing.B) {
		for b.Loop() {
			report(b, processorSeconds(b, func() { want, _, err = front.Encode(b.Context(), pcm) })-vqvae)
			require.NoError(b, err)
		}
	})
	b.Run("device", func(b *testing.B) {
		l, err := ggml.Open(nativetest.Dir(b), slog.New(slog.DiscardHandler))
		require.NoError(b, err)
		d, err := l.Device(cmp.Or(os.Getenv("LARK_TEST_DEVICE"), "CPU"))
		require.NoError(b, err)
		e, err := New(b.Context(), front, l, d, Options{})
		require.NoError(b, err)
		b.Cleanup(e.Close)
		for b.Loop() {
			report(b, processorSeconds(b, func() {
				all, err := e.run([][]int32{codes}, func() bool { return false })
				require.NoError(b, err)
				got = all[0]
			}))
		}
	})
	worst, squares := 0.0, 0.0
	for i, v := range want {
		worst, squares = max(worst, math.Abs(float64(v)-float64(got[i]))), squares+float64(v)*float64(v)
	}
	b.Logf("largest difference %.2g, root mean square %.3g", worst, math.Sqrt(squares/float64(len(want))))
}

// fullWidth is an encoder of random weights with as many positions as the frames need.
func fullWidth(b *testing.B, frames int) *jukebox.Encoder {
	b.Helper()
	dir, blocks := b.TempDir(), (frames*jukeboxbundle.PoolFrames+63)/64
	c := jukebox.Config{Config: jukeboxbundle.Config{
		Layers: 3, Heads: 8, Blocks: blocks, Context: 64 * blocks, Width: 4800, State: 1200, MLP: 4800, Bins: 2048, CodeWidth: 64, ConvWidth: 32, Genres: 2, Artists: 2,
	}}
	_, err := jukeboxbundle.RandomOf(b.Context(), c.Config, jukeboxbundle.RandomConfig{Seed: 3, Out: dir}, func(int64, int64) {})
	require.NoError(b, err)
	weights, err := model.OpenMapped(filepath.Join(dir, jukeboxbundle.File))
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, weights.Close()) })
	front, err := jukebox.New(c, weights, jukebox.Options{})
	require.NoError(b, err)
	return front
}

// processorSeconds is the processor time of the process, all threads, that do takes.
func processorSeconds(b *testing.B, do func()) float64 {
	b.Helper()
	used := func() float64 {
		var u syscall.Rusage
		require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
		return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
	}
	before := used()
	do()
	return used() - before
}

package bench

import (
	"bytes"
	"context"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model/llamabundle"
	"github.com/larkstream/larkstream/engine/native/nativetest"
)

// randomDecoder is a small bundle for llama.cpp.
func randomDecoder(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "random")
	_, err := llamabundle.Random(t.Context(), llamabundle.RandomConfig{Preset: "tiny", Seed: 1, Quant: "f32", Out: dir}, func(int64, int64) {})
	require.NoError(t, err)
	return dir
}

func TestTheDecoderIsMeasuredBesideABareLoop(t *testing.T) {
	t.Parallel()
	r, err := RunLLM(t.Context(), LLMConfig{
		ModelDir: randomDecoder(t), NativeDir: nativetest.Dir(t), Rounds: 2, Tokens: 6, Frames: 20, Sequences: 3, Threads: 1, Progress: func(string) {},
	})
	require.NoError(t, err)
	for _, rate := range r.Rates {
		require.Len(t, rate.Engine, 2)
		require.Len(t, rate.Bare, 2)
		require.Positive(t, min(slices.Min(rate.Engine), slices.Min(rate.Bare)))
	}
	require.Equal(t, [2]int64{1, 3}, r.Prefixes, "a window is read once for all of its questions")
	require.Positive(t, min(r.Together, r.Apart, r.Overhead))
	require.Greater(t, r.Step, r.Overhead)
	var text bytes.Buffer
	r.Write(&text)
	require.Contains(t, text.String(), "| 3 questions on one window, in one request |")
}

func TestASoakFindsNothingHeldAndNothingLost(t *testing.T) {
	t.Parallel()
	ctx, enough := context.WithCancel(t.Context())
	defer enough()
	r, err := RunSoak(ctx, SoakConfig{
		ModelDir: randomDecoder(t), NativeDir: nativetest.Dir(t), Duration: time.Hour, Pause: 200 * time.Millisecond, Clients: 6, Threads: 1, Seed: 1,
		Progress: func(c SoakCount) {
			if c.Answered > 20 && c.Cancelled > 0 {
				enough()
			}
		},
	})
	require.ErrorIs(t, err, context.Canceled)
	require.NotEmpty(t, r.Counts)
	for _, c := range r.Counts {
		require.Equal(t, [3]int64{}, c.Held)
		require.Positive(t, c.Requests)
	}
	var text bytes.Buffer
	r.Write(&text)
	require.Contains(t, text.String(), "[0 0 0]")
}

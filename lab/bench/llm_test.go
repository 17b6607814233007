package bench

import (
	"bytes"
	"context"
	"path/filepath"
	"regexp"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder/schedule"
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
		require.Len(t, rate.EngineCore, len(rate.BareCore))
	}
	require.Equal(t, [2]int64{1, 3}, r.Prefixes, "a window is read once for all of its questions")
	require.Positive(t, min(r.Together.Seconds, r.Apart.Seconds, r.Overhead))
	require.Greater(t, r.Step, r.Overhead)
	var text bytes.Buffer
	r.Write(&text)
	require.Contains(t, text.String(), "| 3 questions on one window, in one request |")
}

// Questions are read a piece a step, so that the first of many short answers ends before the last begins. They are measured together all the same.
func TestShortAnswersToManyQuestionsAreMeasuredTogether(t *testing.T) {
	t.Parallel()
	said := []string{}
	r, err := RunLLM(t.Context(), LLMConfig{
		ModelDir: randomDecoder(t), NativeDir: nativetest.Dir(t), Rounds: 2, Tokens: 2, Frames: 20, Sequences: 12, Threads: 1,
		Progress: func(what string) { said = append(said, what) },
	})
	require.NoError(t, err)
	require.Len(t, r.Rates[1].Engine, 2)
	require.Positive(t, slices.Min(r.Rates[1].Engine))
	require.Equal(t, [2]int64{1, 12}, r.Prefixes)
	longer := regexp.MustCompile(`^12 answers of ([3-9]|\d\d) tokens took`)
	require.True(t, slices.ContainsFunc(said, longer.MatchString), "longer by what lies between the first and the last: %q", said)
}

// A step counts where all answers grow and nothing is read, up to the number of steps that the loop makes.
func TestThePaceIsThatOfStepsThatOnlyDecode(t *testing.T) {
	t.Parallel()
	p := &pace{answers: 2, most: 3}
	for _, s := range []schedule.Step{{Shared: 9}, {Own: 9}, {Answers: 1, Own: 9}, {Answers: 2, Shared: 1}, {Answers: 2}, {Answers: 2}, {Answers: 1}} {
		p.watch(s)
	}
	require.Equal(t, 2, p.steps)
	require.Equal(t, 2, p.reading)
	for range 5 {
		p.watch(schedule.Step{Answers: 2})
	}
	require.Equal(t, 3, p.steps)
	require.Positive(t, p.took.Seconds)
	require.Equal(t, "1.5 s", stretch{Seconds: 1.5}.String())
	require.Equal(t, "1.5 s, 2.0 core-seconds", stretch{Seconds: 1.5, CoreSeconds: 2}.String())
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

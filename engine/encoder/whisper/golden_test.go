package whisper

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/model/audiobundle/audiotest"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/tensor"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tiny is the shape of the golden data's encoders.
func tiny(family string) audiobundle.Config {
	c := audiobundle.Config{Layers: 3, Heads: 5, Width: 80, FFN: 320, Mels: 128, Positions: 1500}
	if family == "qwen2_5_omni" {
		c.Block, c.Positions = 200, 100
	}
	return c
}

func golden(t *testing.T, family string, o Options) *Encoder {
	t.Helper()
	f, err := gguf.Open(audiotest.Path(family, "gguf", "mmproj-f16.gguf"))
	require.NoError(t, err)
	defer func() { require.NoError(t, f.Close()) }()
	e, err := New(tiny(family), Read(t.Context(), f), o)
	require.NoError(t, err)
	return e
}

func TestLengthsAreTheReferences(t *testing.T) {
	t.Parallel()
	raw, err := os.ReadFile(audiotest.Path("lengths.json"))
	require.NoError(t, err)
	type lengths struct{ Frames, Conv, Tokens int }
	var rows []struct {
		Samples int
		Omni    lengths `json:"qwen2_5_omni"`
		Audio   lengths `json:"qwen2_audio"`
		Windows struct {
			Frames []int
			Each   []int `json:"tokens_each"`
		} `json:"flamingo"`
	}
	require.NoError(t, json.Unmarshal(raw, &rows))
	require.NotEmpty(t, rows)
	of := func(samples int) lengths { return lengths{Frames(samples), Rows(Frames(samples)), Tokens(samples)} }
	for _, r := range rows {
		require.Equal(t, r.Omni, of(min(r.Samples, 4_800_000)), "%v", r)
		require.Equal(t, r.Audio, of(min(r.Samples, 480_000)), "%v", r)
		for i, frames := range r.Windows.Frames {
			n := min(r.Samples-i*480_000, 480_000)
			require.Equal(t, []int{frames, r.Windows.Each[i]}, []int{Frames(n), Tokens(n)}, "%v", r)
		}
	}
}

func TestSpectrogramsAreTheReferences(t *testing.T) {
	t.Parallel()
	m := audiotest.Load(t)
	for _, clip := range audiotest.Clips {
		samples := audiotest.Samples(t, clip)
		audiotest.Near(t, Mel(samples, 4_800_000).Data, m.Tolerances["mel"], "mel300", clip+".npy")
		var all []float32
		for at := 0; at < len(samples); at += 480_000 {
			all = append(all, Mel(samples[at:min(at+480_000, len(samples))], 480_000).Data...)
		}
		audiotest.Near(t, all, m.Tolerances["mel"], "mel30", clip+".npy")
	}
}

// encodeAll encodes a clip as its family does: whole, or in windows.
func encodeAll(t *testing.T, e *Encoder, samples []float32, most int) (frames []float32) {
	t.Helper()
	for at := 0; at < min(len(samples), most); at += Padded(e.config) {
		part, err := e.Encode(t.Context(), samples[at:min(at+Padded(e.config), len(samples))])
		require.NoError(t, err)
		frames = append(frames, part.Data...)
	}
	return frames
}

func TestFramesOfEveryClipAreTheReferences(t *testing.T) {
	t.Parallel()
	m := audiotest.Load(t)
	for _, family := range audiotest.Families {
		t.Run(family, func(t *testing.T) {
			t.Parallel()
			var rows []float32
			e := golden(t, family, Options{Rows: func(x []float32) { rows = append(rows, x...) }})
			for _, clip := range audiotest.Clips {
				rows = rows[:0]
				most := 1 << 30
				if family == "qwen2_audio" {
					most = 480_000
				}
				frames := encodeAll(t, e, audiotest.Samples(t, clip), most)
				require.Len(t, frames, m.Cases[family][clip].Tokens*80, clip)
				audiotest.Near(t, rows, m.Tolerances["enc_prepool"], family, clip, "enc_prepool.npy")
				audiotest.Near(t, frames, m.Tolerances["enc_pooled"], family, clip, "enc_pooled.npy")
			}
		})
	}
}

// What rounds on purpose stays within a hundredth of the frames (root of the mean square).
func TestFramesInBfloat16AreNearTheReferences(t *testing.T) {
	t.Parallel()
	for _, family := range audiotest.Families {
		exact, rounded := golden(t, family, Options{}), golden(t, family, Options{Precision: tensor.BF16})
		for _, clip := range []string{"short", "silence"} {
			samples := audiotest.Samples(t, clip)
			want, got := encodeAll(t, exact, samples, 480_000), encodeAll(t, rounded, samples, 480_000)
			difference, sum := 0.0, 0.0
			for i, v := range want {
				difference, sum = difference+float64(v-got[i])*float64(v-got[i]), sum+float64(v)*float64(v)
			}
			require.Less(t, difference/sum, 1e-4, "%s %s", family, clip)
			require.NotEqual(t, want, got)
		}
	}
}

func TestClipsOfAWrongLengthAreRefused(t *testing.T) {
	t.Parallel()
	e := golden(t, "audioflamingo3", Options{})
	_, err := e.Encode(t.Context(), make([]float32, 320))
	require.ErrorIs(t, err, ErrTooShort)
	_, err = e.Encode(t.Context(), make([]float32, 480_001))
	require.ErrorIs(t, err, ErrTooLong)
	frames, err := e.Encode(t.Context(), make([]float32, 321))
	require.NoError(t, err)
	require.Equal(t, []int{1, 80}, []int{frames.Rows, frames.Cols})
	_, err = golden(t, "qwen2_5_omni", Options{}).Encode(t.Context(), make([]float32, 480_001))
	require.NoError(t, err)
}

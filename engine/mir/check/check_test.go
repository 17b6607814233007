package check

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/tags"
)

var waltz = Measured{TempoBPM: 121.4, TempoConfidence: 0.9, Key: "C# minor", KeyConfidence: 0.6, Metre: "3/4", MetreConfidence: 0.7, Content: "music", ContentConfidence: 1}

func TestText(t *testing.T) {
	t.Parallel()
	for answer, want := range map[string]Result{
		"The tempo is about 120 BPM.":           {true, "121 BPM", 0.9},
		"The tempo is about 60 BPM.":            {false, "121 BPM", 0.9},
		"The key is C# minor.":                  {true, "C# minor", 0.6},
		"It is in D flat minor.":                {true, "C# minor", 0.6},
		"E major":                               {false, "C# minor", 0.6},
		"A waltz in Db minor at about 125 BPM.": {true, "121 BPM, C# minor", 0.6},
		"A waltz in E minor at about 121 BPM.":  {false, "121 BPM, C# minor", 0.6},
	} {
		got, ok := Text(answer, waltz)
		require.True(t, ok, answer)
		require.Equal(t, want, got, answer)
	}
	for _, answer := range []string{"", "I can't tell that from the audio.", "I hear piano.", "120 BPM or 60 BPM", "The metre is 3/4."} {
		_, ok := Text(answer, waltz)
		require.False(t, ok, answer)
	}
	_, ok := Text("120 BPM in E minor", Measured{})
	require.False(t, ok, "nothing was measured")
	got, ok := Text("120 BPM in E minor", Measured{Content: "noise", ContentConfidence: 0.8})
	require.True(t, ok)
	require.Equal(t, Result{false, "no music but noise", 0.8}, got)
}

func TestTags(t *testing.T) {
	t.Parallel()
	require.Equal(t, []Field{
		{"tempo_bpm", Result{true, "121 BPM", 0.9}}, {"key", Result{true, "Db", 0.6}}, {"mode", Result{false, "minor", 0.6}}, {"metre", Result{false, "3/4", 0.7}},
	}, Tags(tags.Tags{TempoBPM: 120, Key: "Db", Mode: "major", Metre: "4/4", Genre: "waltz"}, waltz))
	require.Empty(t, Tags(tags.Tags{Genre: "waltz"}, waltz))
	require.Empty(t, Tags(tags.Tags{TempoBPM: 120, Key: "Db", Metre: "4/4"}, Measured{}))
	require.Len(t, Tags(tags.Tags{TempoBPM: 120, Key: "Db", Metre: "4/4"}, Measured{Content: "speech", ContentConfidence: 0.5}), 3)
}

// TestWindow measures clicks at 120 BPM with a chord of C major, and silence.
func TestWindow(t *testing.T) {
	t.Parallel()
	pcm := make([]int16, 20*44100)
	for i := range pcm {
		at := float64(i) / 44100
		since := math.Mod(at, 0.5)
		v := 0.0
		for _, f := range []float64{130.8, 261.6, 329.6, 392} {
			v += math.Sin(2*math.Pi*f*at) * math.Exp(-3*since)
		}
		pcm[i] = int16(5000 * v)
	}
	m := Window(pcm)
	require.Equal(t, "music", m.Content)
	got, ok := Text("120 BPM", m)
	require.True(t, ok)
	require.True(t, got.Agrees, "%+v", m)
	require.NotEmpty(t, m.Key)

	silent := Window(make([]int16, 44100))
	require.Equal(t, "silence", silent.Content)
	require.Empty(t, silent.Key)
	require.Zero(t, Window(nil).TempoBPM)
}

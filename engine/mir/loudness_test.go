package mir

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func decibels(v float64) float64 { return math.Pow(10, v/20) }

// levelsOf plays a sine of 1 kHz at the given dBFS for the given seconds, in turns.
func levelsOf(parts ...[2]float64) sound {
	total := 0.0
	for _, p := range parts {
		total += p[1]
	}
	s, at := silence(total), 0.0
	for _, p := range parts {
		for i := int(at * SampleRate); i < int((at+p[1])*SampleRate); i++ {
			s[i] = decibels(p[0]) * math.Sin(2*math.Pi*1000*float64(i)/SampleRate)
		}
		at += p[1]
	}
	return s
}

// The signals of EBU Tech 3341 (table 1) and 3342 (table 1) that are sines, in both channels.
func TestLoudnessConformance(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		signal     sound
		integrated float64
	}{
		"3341-1": {levelsOf([2]float64{-23, 20}), -23},
		"3341-2": {levelsOf([2]float64{-33, 20}), -33},
		"3341-3": {levelsOf([2]float64{-36, 10}, [2]float64{-23, 60}, [2]float64{-36, 10}), -23},
		"3341-4": {levelsOf([2]float64{-72, 10}, [2]float64{-36, 10}, [2]float64{-23, 60}, [2]float64{-36, 10}, [2]float64{-72, 10}), -23},
		"3341-5": {levelsOf([2]float64{-26, 20}, [2]float64{-20, 20.1}, [2]float64{-26, 20}), -23},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := loudnessOf(c.signal).DualMono()
			require.InDelta(t, c.integrated, got.Integrated, 0.1)
		})
	}
	for name, c := range map[string]struct {
		signal sound
		spread float64
	}{
		"3342-1": {levelsOf([2]float64{-20, 20}, [2]float64{-30, 20}), 10},
		"3342-2": {levelsOf([2]float64{-20, 20}, [2]float64{-15, 20}), 5},
		"3342-3": {levelsOf([2]float64{-40, 20}, [2]float64{-20, 20}), 20},
		"3342-4": {levelsOf([2]float64{-50, 20}, [2]float64{-35, 20}, [2]float64{-20, 20}, [2]float64{-35, 20}, [2]float64{-50, 20}), 15},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.InDelta(t, c.spread, loudnessOf(c.signal).Range, 1)
		})
	}
}

func loudnessOf(s sound) Loudness {
	m := newLoudnessMeter()
	m.process(s)
	return m.result()
}

func TestLoudnessOfNothing(t *testing.T) {
	t.Parallel()
	for _, s := range []sound{nil, silence(0.2), silence(5)} {
		got := loudnessOf(s)
		require.True(t, math.IsInf(got.Integrated, -1))
		require.Zero(t, got.Range)
	}
	brief := loudnessOf(levelsOf([2]float64{-23, 1}))
	require.InDelta(t, -26, brief.Integrated, 0.2, "one channel of the reference signal")
	require.True(t, math.IsInf(brief.ShortTerm, -1), "no block of 3 s is there")
}

func TestLevels(t *testing.T) {
	t.Parallel()
	s := silence(1)
	s = append(s, levelsOf([2]float64{6, 2})...)
	s = append(s, silence(2)...)
	got, _ := Analyse(s.pcm())
	require.InDelta(t, 0, got.Levels.Peak, 0.01)
	require.InDelta(t, 4000, got.Levels.ClippedRuns, 10, "1 kHz clips twice in each period")
	require.InDelta(t, 0.6, got.Levels.Silent, 0.01)
	require.InDelta(t, 1, got.Levels.LeadIn, 0.11)
	require.InDelta(t, 2, got.Levels.LeadOut, 0.11)
	clean, _ := Analyse(levelsOf([2]float64{-1, 1}).pcm())
	require.Zero(t, clean.Levels.ClippedRuns)
	require.InDelta(t, -1, clean.Levels.Peak, 0.01)
}

package eval

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTempoWithin(t *testing.T) {
	t.Parallel()
	acc1, acc2 := tempoWithin(1), tempoWithin(1, 2, 0.5, 3, 1.0/3)
	for got, want := range map[string][2]float64{
		"124": {1, 1}, "125": {0, 0}, "60": {0, 1}, "240": {0, 1}, "40": {0, 1}, "360": {0, 1}, "118": {1, 1}, "80": {0, 0}, "": {0, 0},
	} {
		p := pair{got, "120"}
		require.Equal(t, want, [2]float64{acc1(p), acc2(p)}, got)
	}
}

func TestMirexWeights(t *testing.T) {
	t.Parallel()
	for got, want := range map[string]float64{
		"A minor": 1, "E minor": 0.5, "D minor": 0.5, "C major": 0.3, "A major": 0.2, "E major": 0, "F# major": 0, "": 0,
	} {
		require.InDelta(t, want, mirex(pair{got, "A minor"}), 0, got)
	}
	require.InDelta(t, 0.3, mirex(pair{"A minor", "C major"}), 0, "relative, the other way")
	require.Zero(t, mirex(pair{"Eb minor", "C major"}))
}

func TestMeasures(t *testing.T) {
	t.Parallel()
	drums := []pair{{"yes", "yes"}, {"yes", "yes"}, {"yes", "yes"}, {"yes", "no"}}
	require.InDelta(t, 0.5, balanced(drums), 1e-9, "three quarters are right, but one class of two")
	pairs := []pair{{"bass,piano", "piano"}, {"", "piano,strings"}, {"piano", "piano"}}
	// piano: 2 named, 3 true, 2 both; strings: 0 named, 1 true; bass: 1 named, 0 true.
	require.InDelta(t, 2*2.0/(3+4), microF1(pairs), 1e-9)
	require.InDelta(t, (0.8+0)/2, macroF1(pairs), 1e-9)
	require.Zero(t, macroF1(nil))
	require.Zero(t, balanced(nil))
	got := families(pairs)
	require.Equal(t, "piano", got[1].Name)
	require.InDelta(t, 2.0/3, got[1].Recall, 1e-9)
	require.InDelta(t, 1, got[1].Precision, 1e-9)
}

// TestInterval compares with the normal approximation: the mean of 400 draws at a rate of 0.3 has a standard error of 0.0229.
func TestInterval(t *testing.T) {
	t.Parallel()
	value := func(draw []int) float64 {
		n := 0
		for _, i := range draw {
			if i < 120 {
				n++
			}
		}
		return float64(n) / 400
	}
	low, high := interval(1, 400, value)
	require.InDelta(t, 0.3-1.96*0.0229, low, 0.006)
	require.InDelta(t, 0.3+1.96*0.0229, high, 0.006)
	again, _ := interval(1, 400, value)
	require.InDelta(t, low, again, 0, "the same seed")
	low, high = interval(1, 0, value)
	require.Zero(t, low+high)
}

func TestAgreement(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 0.75, agreement(TaskTempo, []string{"120", "121", "119", "60"}), 1e-9)
	require.InDelta(t, 0.5, agreement(TaskKey, []string{"C major", "C major", "", ""}), 1e-9, "what cannot be read agrees with nothing")
	require.Zero(t, agreement(TaskKey, []string{"", ""}))
}

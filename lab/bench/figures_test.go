package bench

import (
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/decoder"
)

// Windows and seconds are added up before they are divided: a short round does not count as much as a long one.
func TestRatesWeighRoundsByTheirLength(t *testing.T) {
	t.Parallel()
	r := Report{
		Plain:    []Plain{{Windows: 100, Seconds: 10}, {Windows: 100, Seconds: 40}},
		Pipeline: []Pipeline{{Windows: 100, Seconds: 20, PeakRSS: map[string]int64{"llm": 1}}, {Windows: 100, Seconds: 30, PeakRSS: map[string]int64{"llm": 1, "encoder": 2}}},
	}
	plain, pipeline := r.Rates()
	require.InDelta(t, 4, plain, 1e-9)
	require.InDelta(t, 4, pipeline, 1e-9)
	var text strings.Builder
	r.Write(&text)
	require.Contains(t, text.String(), "| pipeline : plain loop | 1.00 |")
	require.Contains(t, text.String(), "| pipeline, 2 processes | 4.00 windows/s (rounds: 5.00, 3.33) |")
	require.Zero(t, Report{}.processes())
}

// The processor time of all processes counts, for one answer: each window has two.
func TestProcessorTimeOfAnAnswer(t *testing.T) {
	t.Parallel()
	r := Report{
		Plain: []Plain{{Windows: 100, Seconds: 10, Processor: 15}, {Windows: 100, Seconds: 10, Processor: 17}},
		Pipeline: []Pipeline{{Windows: 100, Seconds: 20, Processor: map[string]float64{"llm": 10, "encoder": 8}}, {
			Windows: 100, Seconds: 20, Processor: since(map[string]float64{"llm": 5}, map[string]float64{"llm": 17, "encoder": 10}),
		}},
	}
	var text strings.Builder
	r.Write(&text)
	require.Contains(t, text.String(), "| processor time of an answer, plain loop | 80.0 ms |")
	require.Contains(t, text.String(), "| processor time of an answer, pipeline | 100.0 ms: encoder 45.0, llm 55.0 |")
	require.Contains(t, text.String(), "| plain loop : pipeline in processor time | 0.80 |")
	require.InDelta(t, 0.75, parseProcessor("7 (a ) b) R 1 2 3 4 5 6 7 8 9 10 50 25 0 0 20 0"), 1e-9)
	require.Zero(t, parseProcessor("7 (lark) R 1"))
	require.Zero(t, parseProcessor(""))
}

// More layers multiply every part but the VQ-VAE, which runs once.
func TestExtrapolationLeavesTheVQVAEAsItIs(t *testing.T) {
	t.Parallel()
	run := EncoderRun{Parts: []EncoderPart{{Name: "mlp", CoreSeconds: 2, GFLOP: 200}, {Name: partVQVAE, CoreSeconds: 3, GFLOP: 30}}}
	require.Equal(t, EncoderPart{CoreSeconds: 5, GFLOP: 230}, run.whole(1))
	require.Equal(t, EncoderPart{CoreSeconds: 2*12 + 3, GFLOP: 200*12 + 30}, run.whole(12))

	peer := EncoderRun{System: "torch", Precision: "f32", WallSeconds: 4, Parts: []EncoderPart{{Name: "mlp", CoreSeconds: 4}, {Name: partVQVAE, CoreSeconds: 6}}}
	run.System, run.Precision, run.WallSeconds, run.Ceilings = "larkstream", "f32", 1, map[string]float64{"f32": 200}
	r := EncoderReport{Layers: 3, AllLayers: 36, Systems: []EncoderSystem{{EncoderRun: run}, {EncoderRun: peer}}}
	var text strings.Builder
	r.writeRatios(&text)
	require.Contains(t, text.String(), "| larkstream f32 : torch f32 | 2.00 | 4.00 |", "twice as fast with 36 layers, four times on the clock")
}

// A median of rounds is taken part by part; of memory the most counts.
func TestMedianOfRounds(t *testing.T) {
	t.Parallel()
	var runs []EncoderRun
	for i, seconds := range []float64{5, 1, 3} {
		runs = append(runs, EncoderRun{
			CoreSeconds: seconds, Parts: []EncoderPart{{Name: "mlp", CoreSeconds: 10 * seconds}}, Memory: Memory{Peak: int64(i), File: int64(-i)},
		})
	}
	m := medianRun(runs)
	require.InDelta(t, 3, m.CoreSeconds, 0)
	require.InDelta(t, 30, m.part("mlp").CoreSeconds, 0)
	require.Zero(t, m.part("none").CoreSeconds)
	require.Equal(t, Memory{Peak: 2}, m.Memory)
	require.InDelta(t, 50, runs[0].Parts[0].CoreSeconds, 0, "the rounds stay as they were")
}

func TestAnswersThatAreCutShortAreNotMeasured(t *testing.T) {
	t.Parallel()
	right, broken := decoder.Result{OutputTokens: 11, Finish: "length"}, errors.New("broken")
	require.NoError(t, whole([]decoder.Result{right, right}))
	require.ErrorContains(t, whole([]decoder.Result{right, {OutputTokens: 7, Finish: "stop"}}), "ended by itself after 7 tokens")
	require.ErrorIs(t, whole([]decoder.Result{right, {Err: broken}}), broken)
}

// Whoever measures on a busy machine is told at the beginning: such a run may take very long.
func TestABusyMachineIsNamed(t *testing.T) {
	t.Parallel()
	require.Empty(t, LLMReport{Threads: 2}.busy())
	require.NotContains(t, LLMReport{Load: 1e6, Threads: 1}.busy(), "--threads 1")
	busy := LLMReport{Load: 1e6, Threads: 2}
	require.Contains(t, busy.busy(), "load average 1000000.0")
	require.Contains(t, busy.busy(), "--threads 1")
	var text strings.Builder
	busy.Rates = []LLMRate{{Sequences: 1}}
	busy.Write(&text)
	require.Contains(t, text.String(), busy.busy())
}

func TestFrameErrorsAreShares(t *testing.T) {
	t.Parallel()
	got := frameErrors([]float32{3, 4, 0, 1}, []float32{3, 4.5, 0, 1}, 2)
	require.Len(t, got, 2)
	require.InDelta(t, 0, got[0], 1e-9, "the smallest first")
	require.InDelta(t, 0.1, got[1], 1e-9, "0.5 of a length of 5")
}

func TestLoadAverageIsRead(t *testing.T) {
	t.Parallel()
	require.InDelta(t, 2.35, parseLoad("2.35 1.00 0.50 1/200 300\n"), 0)
	require.Zero(t, parseLoad(""))
	require.False(t, math.IsNaN(parseLoad("x y")))
}

package bench

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The tracks are read back by the chunker's own code: as many windows as asked for, of 25 s, no two the same.
func TestTracksHoldTheWindowsAskedFor(t *testing.T) {
	t.Parallel()
	base := [][]int16{make([]int16, windowSamples), make([]int16, windowSamples)}
	for i := range base[0] {
		base[0][i], base[1][i] = int16(i%3001), int16(i%4001)
	}
	path := filepath.Join(t.TempDir(), "track.wav")
	require.NoError(t, writeTrack(path, base, 3, 4))
	files, err := audio.NewDecoder(t.Context(), audio.DefaultConfig())
	require.NoError(t, err)
	cutter := cut.New(files, "")
	require.NoError(t, err)
	hashes := map[string]bool{}
	seconds, err := cutter.CutFile(t.Context(), path, plan.NewRule(plan.All, nil, plan.Hearing{SpanS: 25, Rate: plan.SampleRate}), func(w cut.FileWindow) error {
		hashes[w.Hash] = true
		require.Len(t, w.PCM, windowSamples)
		return nil
	})
	require.NoError(t, err)
	require.InDelta(t, 100, seconds, 1e-6)
	require.Len(t, hashes, 4)
}

func TestGapsComeFromTheLastStepInsideASpan(t *testing.T) {
	t.Parallel()
	at := func(ms int) time.Time { return time.UnixMilli(1_790_000_000_000 + int64(ms)) }
	process := func(id, service, topic string, from, to int) span {
		return span{SpanID: id, Name: telemetry.SpanProcess + topic, Service: service, Start: at(from), End: at(to)}
	}
	spans := []span{
		{SpanID: "s", Name: spanSubmit, Service: "gateway", Start: at(0), End: at(10)},
		{SpanID: "s1", ParentID: "s", Name: "store", Service: "gateway", Start: at(1), End: at(6)},
		process("c", "chunker-svc", event.TopicJobs, 9, 60),
		{SpanID: "c1", ParentID: "c", Name: "cut", Service: "chunker-svc", Start: at(10), End: at(40)},
		process("g", "gateway", event.TopicJobs, 12, 13), // the recorder reads jobs as well
		process("e", "encoder-svc", event.TopicWindows, 44, 99),
	}
	require.Equal(t, map[string]float64{"gateway to chunker": 3, "chunker to encoder": 4}, gapsOf(spans))

	// The plan reaches the recorder before the outcome: the last one counts.
	spans = append(spans,
		process("l", "llm-svc", event.TopicPrompts, 100, 130),
		span{SpanID: "l1", ParentID: "l", Name: "decode", Service: "llm-svc", Start: at(101), End: at(120)},
		process("r1", "gateway", event.TopicAnswers, 45, 46), process("r2", "gateway", event.TopicAnswers, 125, 126),
	)
	require.InDelta(t, 5, gapsOf(spans)["llm to recorder"], 1e-9)
}

func TestQuantile(t *testing.T) {
	t.Parallel()
	values := []float64{5, 1, 4, 2, 3}
	require.InDelta(t, 3, quantile(values, 0.5), 0)
	require.InDelta(t, 5, quantile(values, 0.95), 0)
	require.InDelta(t, 5, quantile(values, 1), 0)
	require.Zero(t, quantile(nil, 0.5))
	require.Equal(t, []float64{5, 1, 4, 2, 3}, values)
}

func TestPeakMemory(t *testing.T) {
	t.Parallel()
	require.Equal(t, Memory{Peak: 2048 << 10, Anonymous: 1024 << 10, File: 512 << 10},
		parseMemory("Name:\tlark 1 kB\nVmPeak:\t 9999 kB\nVmHWM:\t    2048 kB\nRssAnon:\t    1024 kB\nRssFile:\t     512 kB\n"))
	require.Zero(t, parseMemory("Name:\tlark\n"))
	require.Equal(t, Memory{3, 5, 6}, Memory{3, 2, 6}.max(Memory{1, 5, 4}))
	if _, err := os.Stat("/proc/self/status"); err == nil {
		require.Greater(t, PeakRSS("self"), int64(1<<20))
	}
	require.Zero(t, PeakRSS("no such process"))
	require.InDelta(t, 16.24, parseLoad("16.24 16.43 14.66 3/512 28624\n"), 0)
	require.Zero(t, parseLoad(""))
}

func TestReport(t *testing.T) {
	t.Parallel()
	r := Report{
		Plain:    []Plain{{Windows: 100, Seconds: 10, PeakRSS: 3 << 20}, {Windows: 100, Seconds: 30}},
		Pipeline: []Pipeline{{Windows: 100, Seconds: 25, PeakRSS: map[string]int64{"llm": 1 << 20}}, {Windows: 100, Seconds: 25, PeakRSS: map[string]int64{"llm": 2 << 20}}},
		Hops:     []Hop{{Name: "a to b", MedianMS: 1.25, N: 3}},
	}
	plain, pipeline := r.Rates()
	require.InDelta(t, 5, plain, 1e-9)
	require.InDelta(t, 4, pipeline, 1e-9)
	var text bytes.Buffer
	r.Write(&text)
	for _, want := range []string{"| pipeline : plain loop | 0.80 |", "(rounds: 10.00, 3.33)", "| hop a to b, added time | median 1.2 ms", "llm 2; plain loop 3 |"} {
		require.Contains(t, text.String(), want)
	}
	require.NotContains(t, text.String(), "busy")
	text.Reset()
	r.Load = 1000
	r.Pipeline[0].PeakRSS, r.Pipeline[1].PeakRSS = nil, nil
	r.Write(&text)
	require.Contains(t, text.String(), "not told by this system")
	require.Contains(t, text.String(), "busy with other work (load average 1000.0")
}

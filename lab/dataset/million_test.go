//go:build unix

package dataset

import (
	"os"
	"runtime"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/lab/dataset/llm/fake"
)

// TestManyPairs makes LARK_PAIRS pairs through a fake language model and tells how memory, processor time and cost grow:
//
//	LARK_PAIRS=1000000 go test ./lab/dataset -run TestManyPairs -v -timeout 5h
//
// Without LARK_PAIRS it makes two thousand, and checks the same: what is in use does not grow with the set, and the cost is the same for each clip.
func TestManyPairs(t *testing.T) {
	if testing.Short() {
		t.Skip("-short")
	}
	pairs, _ := strconv.Atoi(os.Getenv("LARK_PAIRS")) // absent: the small run
	if pairs == 0 {
		pairs = 2000
	}
	clips := pairs / 10 // the fake model says ten things of each
	s := labelled(t, clips)
	server := &fake.Server{}
	cfg := asking(t, server)
	cfg.Jobs = 8
	half := 0.0
	var early, late uint64
	begun := time.Now()
	cfg.Progress = func(_ string, done int) {
		if done%max(1, clips/10) != 0 {
			return
		}
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		t.Logf("%d clips: %.1f MB in use, %.1f MB from the system, %.1f s on the processor, %.0f s", done, float64(m.HeapAlloc)/1e6, float64(m.Sys)/1e6, processorSeconds(t),
			time.Since(begun).Seconds())
		if done <= clips/5 {
			early = max(early, m.HeapAlloc)
		} else {
			late = max(late, m.HeapAlloc)
		}
	}
	got, err := Generate(t.Context(), s, cfg)
	require.NoError(t, err)
	require.Equal(t, clips*10, got.Accepted)
	require.Zero(t, got.Rejected)
	require.EqualValues(t, clips, server.Requests.Load())
	n := 0
	for r, err := range rows[pairRow](s.path("songs", "pairs.understanding.llm.jsonl")) {
		require.NoError(t, err)
		if n++; n <= clips/2 {
			half += r.Cost
		}
	}
	require.Equal(t, clips+1, n)
	require.InDelta(t, got.Cost/2, half, got.Cost*0.01, "the first half costs half")
	require.Less(t, late, early+8<<20, "what is in use does not grow with the set")
	t.Logf("%d pairs, cost %.4f, %.0f s", got.Accepted, got.Cost, time.Since(begun).Seconds())
}

// processorSeconds is what this process, the fake language model included, has used of all processors.
func processorSeconds(t *testing.T) float64 {
	t.Helper()
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

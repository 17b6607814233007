package bench

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// No two windows of the largest catalogue may be the same, or the second would be found in the cache.
func TestNoWindowOfTheCatalogueComesTwice(t *testing.T) {
	t.Parallel()
	seen := make(map[int64]bool)
	for job := range maxQueued / trackWindows {
		for _, span := range catalogueSpans(job) {
			start := int64(math.Round(span.StartS * sampleRate))
			require.False(t, seen[start], "job %d", job)
			seen[start] = true
			require.Less(t, span.EndS, float64(trackSeconds))
		}
	}
	require.Len(t, seen, MaxQueued())
	require.NotEqual(t, tone(1, 1), tone(2, 1))
}

func TestLanesReportTellsWaitsAndTheRatio(t *testing.T) {
	t.Parallel()
	r := newLanesReport(LanesConfig{Queued: 500, Questions: 4, Windows: 100, Rounds: 2, Handler: 20 * time.Millisecond, TenantJobs: 1000, TenantWindows: 16})
	r.Tenants = []TenantsRound{{Lane: "bulk", Jobs: 1000, AloneS: 0.5, BesideS: 0.8}}
	r.Idle = Waits{Known: newWait([]float64{10, 20, 30}), New: newWait([]float64{100})}
	r.Behind = Waits{Known: newWait([]float64{50, 60, 70, 80}), New: newWait([]float64{130})}
	r.With, r.Without = []float64{50, 100}, []float64{100, 100}
	require.InDelta(t, 2.0/3, r.Ratio(), 1e-9, "100 windows took 3 s with lanes and 2 s without")
	var text strings.Builder
	r.Write(&text)
	for _, want := range []string{
		"`lark bench lanes --queued 500 --questions 4 --windows 100 --rounds 2 --handler 20ms --tenant-jobs 1000 --tenant-windows 16`",
		"| on a known track | median 20 ms, 95 % below 30 ms (n = 3) | median 70 ms, 95 % below 80 ms (n = 4) | 50 ms |",
		"| on a new track | median 100 ms, 95 % below 100 ms (n = 1) | median 130 ms, 95 % below 130 ms (n = 1) | 30 ms |",
		"| with : without | 0.67 |", "| lane, 16 windows of each tenant in Kafka at once | last of 10 jobs, alone | behind 1000 jobs of another tenant | times |", "| bulk | 0.50 s | 0.80 s | 1.6 |",
	} {
		require.Contains(t, text.String(), want, fmt.Sprint(r))
	}
}

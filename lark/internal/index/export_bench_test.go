package index

import (
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lab/bench"
)

// BenchmarkExportMemory exports runs of two sizes to Parquet and tells the largest resident size that the process has had, the stand-in of the gateway
// included: the second run is five times the first. Use -benchtime 1x.
func BenchmarkExportMemory(b *testing.B) {
	for _, items := range []int{200_000, 1_000_000} {
		b.Run(strconv.Itoa(items), func(b *testing.B) {
			gw := gatewayWith(b, items, 200, answered)
			run := client.Run{ID: "run-1", State: client.RunSucceeded, Items: items}
			run.Asked.Questions, run.Counts.Succeeded = []string{"tempo"}, items
			for b.Loop() {
				_, err := Export{Gateway: gw, Dir: b.TempDir(), Format: "parquet"}.Run(b.Context(), run)
				require.NoError(b, err)
			}
			b.ReportMetric(float64(bench.PeakRSS("self"))/1e6, "peak-MB")
		})
	}
}

// answered is an item with one answer.
func answered(i int) client.RunItem {
	return client.RunItem{
		Number: i + 1, ID: fmt.Sprint("track-", i), URI: fmt.Sprintf("file:///music/%d.wav", i), State: client.StateSucceeded, Windows: 1,
		Outcomes: []client.Outcome{{
			ID: fmt.Sprintf("%064d", i), State: "answered", Question: "What is the tempo?", Answer: fmt.Sprintf("The tempo is about %d BPM.", i), EndedAt: time.Now(),
		}},
	}
}

package index

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
)

// BenchmarkExportMemory exports runs of two sizes to Parquet and tells the largest resident size that the process has had, the stand-in of the gateway
// included: the second run is five times the first. Use -benchtime 1x.
func BenchmarkExportMemory(b *testing.B) {
	for _, items := range []int{200_000, 1_000_000} {
		b.Run(strconv.Itoa(items), func(b *testing.B) {
			gw, run := large(b, items)
			for b.Loop() {
				_, err := Export{Gateway: gw, Dir: b.TempDir(), Format: "parquet"}.Run(b.Context(), run)
				require.NoError(b, err)
			}
			b.ReportMetric(float64(peak(b))/1e6, "peak-MB")
		})
	}
}

// large is a run with as many items, each with one answer, that a gateway tells page by page.
func large(b *testing.B, items int) (*client.Client, client.Run) {
	b.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(client.ModelList{Models: []client.Model{{ID: "nano"}}})
	})
	mux.HandleFunc("GET /v1/runs/run-1/items", func(w http.ResponseWriter, r *http.Request) {
		from, _ := strconv.Atoi(r.URL.Query().Get("cursor"))
		to := min(from+200, items)
		var list client.RunItemList
		for i := from; i < to; i++ {
			list.Items = append(list.Items, client.RunItem{
				Number: i + 1, ID: fmt.Sprint("track-", i), URI: fmt.Sprintf("file:///music/%d.wav", i), State: client.StateSucceeded, Windows: 1,
				Outcomes: []client.Outcome{{
					ID: fmt.Sprintf("%064d", i), State: "answered", Question: "What is the tempo?", Answer: fmt.Sprintf("The tempo is about %d BPM.", i), EndedAt: time.Now(),
				}},
			})
		}
		if to < items {
			next := strconv.Itoa(to)
			list.Next = &next
		}
		_ = json.NewEncoder(w).Encode(list)
	})
	server := httptest.NewServer(mux)
	b.Cleanup(server.Close)
	gw, err := client.New(server.URL, server.Client())
	require.NoError(b, err)
	run := client.Run{ID: "run-1", State: client.RunSucceeded, Items: items}
	run.Asked.Questions, run.Counts.Succeeded = []string{"tempo"}, items
	return gw, run
}

// peak is the largest resident size that this process has had, in bytes; 0 where there is no /proc.
func peak(b *testing.B) int64 {
	b.Helper()
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(status), "VmHWM:")
	var kib int64
	_, err = fmt.Sscanf(rest, "%d kB", &kib)
	require.NoError(b, err)
	return kib << 10
}

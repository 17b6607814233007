package bench

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
)

// Every job is sent once and has its time; a refused one ends the measurement, so that no report counts what was not accepted.
func TestEveryJobIsSubmittedOnce(t *testing.T) {
	t.Parallel()
	var requests atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var sub client.Submission
		if json.NewDecoder(r.Body).Decode(&sub) != nil || sub.AudioRef != "known" || requests.Add(1) > 103 {
			w.WriteHeader(http.StatusTooManyRequests)
			return
		}
		w.WriteHeader(http.StatusAccepted)
		_, _ = w.Write([]byte(`{"id":"j"}`))
	}))
	t.Cleanup(srv.Close)
	gw, err := client.New(srv.URL, srv.Client())
	require.NoError(t, err)
	cfg := GatewayConfig{Clients: 4}
	waits, err := cfg.submit(t.Context(), gw, "known", 103)
	require.NoError(t, err)
	require.Len(t, waits, 103)
	require.NotContains(t, waits, 0.0)
	require.EqualValues(t, 103, requests.Load())
	_, err = cfg.submit(t.Context(), gw, "known", 1)
	p, refused := client.AsProblem(err)
	require.True(t, refused)
	require.Equal(t, http.StatusTooManyRequests, p.Status)
}

func TestGatewayReportTellsEveryRound(t *testing.T) {
	t.Parallel()
	r := newGatewayReport(GatewayConfig{Jobs: 1000, Clients: 32, Rounds: 2, Databases: []string{SQLite, PostgreSQL}})
	r.Rounds = []GatewayRound{
		{Database: SQLite, JobsPerSecond: 500, MedianMS: 20, P99MS: 45.5, MaxMS: 80, Processor: map[string]float64{"gateway": 1.5, "broker": 0.25}, Submitting: 0.5},
		{Database: PostgreSQL, JobsPerSecond: 400},
	}
	var text strings.Builder
	r.Write(&text)
	require.Contains(t, text.String(), "`lark bench gateway --jobs 1000 --clients 32 --rounds 2 --streams 0 --databases sqlite,postgres`")
	require.Contains(t, text.String(), "| sqlite | 500 | 20.0 ms | 45.5 ms | 80.0 ms | 1.50 ms | 0.25 ms | 0.50 ms |")
	require.Contains(t, text.String(), "| postgres | 400 |")
}

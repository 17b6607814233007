package demo_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/demo"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"), goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"))
}

// gateway answers every question; the cache state follows from the job's number.
type gateway struct {
	jobs  int
	asked map[string][]string
	cache []string
	fail  bool
}

func (g *gateway) Submit(_ context.Context, sub client.Submission, _ *client.Upload, _ client.SubmitOptions) (client.Job, error) {
	g.jobs++
	id := fmt.Sprint("job-", g.jobs)
	g.asked[id] = sub.Questions
	return client.Job{ID: id}, nil
}

func (g *gateway) Events(context.Context, string, string, func(client.Event) error) error { return nil }

func (g *gateway) Outcomes(_ context.Context, id string) ([]client.Outcome, error) {
	var out []client.Outcome
	for i, q := range g.asked[id] {
		o := client.Outcome{QuestionIndex: i, Question: q, State: "answered", Answer: "Yes.", Cache: g.cache[g.jobs-1], EndedAt: time.Unix(int64(i), 0)}
		if g.fail {
			o.State, o.Error = "failed", &client.OutcomeError{Code: "engine_error", Message: "broken"}
		}
		out = append([]client.Outcome{o}, out...)
	}
	return out, nil
}

// setup makes a piece and an encoder whose run counter grows by step with every look.
func setup(t *testing.T, step int64) demo.Config {
	t.Helper()
	models := t.TempDir()
	piece := filepath.Join(models, "demo")
	require.NoError(t, os.Mkdir(piece, 0o750))
	require.NoError(t, os.WriteFile(filepath.Join(piece, "larksong.mp3"), []byte("x"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(piece, "larksong.json"),
		[]byte(`{"file":"larksong.mp3","tempo_bpm":104,"key":"G","mode":"major","metre":"4/4","families":["piano"],"drums":true}`), 0o600))
	found, err := demo.PieceFolder(filepath.Join(models, "lark-nano"))
	require.NoError(t, err)
	var runs atomic.Int64
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, "# TYPE lark_encoder_runs_total counter\nlark_encoder_runs_total{engine=\"nano\"} %d\n", 1+runs.Add(step)-step)
	}))
	t.Cleanup(func() { srv.Close(); http.DefaultClient.CloseIdleConnections() })
	return demo.Config{Piece: found, EncoderMetrics: srv.URL}
}

func TestDemoShowsAnswersAndTheSkippedEncoder(t *testing.T) {
	cfg := setup(t, 0)
	var out bytes.Buffer
	cfg.Out = &out
	require.NoError(t, demo.Run(t.Context(), &gateway{asked: map[string][]string{}, cache: []string{"miss", "hit"}}, cfg))
	require.Contains(t, out.String(), "(score: G major)")
	require.Contains(t, out.String(), "encoder skipped")
	require.Contains(t, out.String(), "encoder runs: 1 before, 1 after")
}

func TestDemoFailsWhenTheEncoderRanAgain(t *testing.T) {
	cfg := setup(t, 1)
	cfg.Out = &bytes.Buffer{}
	require.ErrorContains(t, demo.Run(t.Context(), &gateway{asked: map[string][]string{}, cache: []string{"miss", "hit"}}, cfg), "reached the encoder")
}

func TestDemoFailsWhenAQuestionFailed(t *testing.T) {
	cfg := setup(t, 0)
	cfg.Out = &bytes.Buffer{}
	require.ErrorContains(t, demo.Run(t.Context(), &gateway{asked: map[string][]string{}, cache: []string{"miss"}, fail: true}, cfg), "engine_error: broken")
}

func TestPieceFolderNamesTheRemedy(t *testing.T) {
	_, err := demo.PieceFolder(filepath.Join(t.TempDir(), "lark-nano"))
	require.ErrorContains(t, err, "checkout")
}

package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/lab/eval"
)

var larkNano = filepath.Join("..", "..", "..", "models", "lark-nano")

// TestEvalTheDemoPiece asks lark-nano about the demo piece, whose tempo, key and metre are known.
func TestEvalTheDemoPiece(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	song, err := filepath.Abs(larksong)
	require.NoError(t, err)
	line, err := json.Marshal(eval.Clip{ID: "larksong", Audio: song, Labels: eval.Labels{TempoBPM: 104, Key: "G major", Metre: "4/4", Unanswerable: true}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(dir, eval.SetFile), line, 0o600))
	report, page := filepath.Join(dir, "report.json"), filepath.Join(dir, "report.html")

	code, out, errs := run(t, "eval", "--set", dir, "--model", larkNano, "--tasks", "tempo,key,metre,unanswerable", "--out", report, "--html", page)
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "| tempo | acc1 (4 %) |")
	raw, err := os.ReadFile(report)
	require.NoError(t, err)
	var got struct {
		Summary map[string]map[string]any `json:"summary"`
	}
	require.NoError(t, json.Unmarshal(raw, &got))
	for _, task := range []string{"tempo", "key", "metre", "unanswerable"} {
		for _, field := range []string{"metric", "value", "low", "high", "n", "constant", "mir"} {
			require.Contains(t, got.Summary[task], field, task)
		}
	}
	require.InDelta(t, 1, got.Summary["tempo"]["mir"], 1e-9, "engine/mir knows the demo's tempo")
	require.Nil(t, got.Summary["unanswerable"]["mir"])
	require.FileExists(t, page)
	require.FileExists(t, report+".answers")

	compared := filepath.Join(dir, "compared")
	code, out, errs = run(t, "eval", "compare", report, "again="+report, "--out", compared+".json", "--html", compared+".html")
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "| task | metric | report (95 %) | again (95 %) | constant answer | engine/mir |")
	require.FileExists(t, compared+".json")
	require.FileExists(t, compared+".html")

	code, out, errs = run(t, "eval", "--set", dir, "--model", larkNano, "--tasks", "tempo", "--out", report, "--json")
	require.Equal(t, exitOK, code, errs)
	var summary map[string]eval.Figure
	require.NoError(t, json.Unmarshal([]byte(out), &summary))
	require.Contains(t, summary, "tempo")
}

func TestEvalRefuses(t *testing.T) {
	t.Parallel()
	for want, args := range map[string][]string{
		"--set names no folder":              {"eval", "--out", "r.json"},
		"--out names no file":                {"eval", "--set", "x"},
		"of --server and --model only one":   {"eval", "--set", "x", "--out", "r", "--server", "http://h", "--model", "m"},
		`task "tempi" is not known`:          {"eval", "--set", "x", "--out", "r", "--tasks", "key,tempi"},
		"--judge and --judge-model":          {"eval", "--set", "x", "--out", "r", "--judge", "http://h"},
		"is no URL of a judge":               {"eval", "--set", "x", "--out", "r", "--judge", "h", "--judge-model", "m"},
		"both are needed":                    {"eval", "import", "gtzan", "--from", "x"},
		`invalid argument "fma"`:             {"eval", "import", "fma", "--from", "x", "--out", "y"},
		"--choices likelihood needs --model": {"eval", "--set", "x", "--out", "r", "--server", "http://h", "--choices", "text,likelihood"},
		`choices by "guess" are not known`:   {"eval", "--set", "x", "--out", "r", "--choices", "guess"},
		"of --cache and --no-cache only one": {"eval", "--set", "x", "--out", "r", "--cache", "c", "--no-cache"},
		"is no NAME=FILE":                    {"eval", "compare", "x=", "y"},
		"requires at least 2 arg":            {"eval", "compare", "x"},
	} {
		code, _, errs := run(t, args...)
		require.Equal(t, exitUsage, code, want)
		require.Contains(t, errs, want)
	}
	code, _, errs := run(t, "eval", "--set", t.TempDir(), "--out", filepath.Join(t.TempDir(), "r"), "--model", larkNano)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "set.jsonl is not there")
}

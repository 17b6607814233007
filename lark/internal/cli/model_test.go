package cli

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/lark/internal/terminal"
)

func run(t *testing.T, args ...string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = Main(t.Context(), args, Streams{In: strings.NewReader(""), Out: &stdout, Err: &stderr})
	return code, stdout.String(), stderr.String()
}

func TestModelImportMakesABundle(t *testing.T) {
	t.Parallel()
	data := filepath.Join("..", "..", "..", "engine", "model", "testdata", "jukebox")
	for name, vqvae := range map[string]string{"legacy": "vqvae.pth.tar", "zip": "vqvae.zip.pth.tar"} {
		dir := filepath.Join(t.TempDir(), name)
		code, out, errs := run(t, "model", "import", "jukebox", "--vqvae", filepath.Join(data, vqvae),
			"--prior", filepath.Join(data, "prior_level_2.pth.tar"), "--layers", "6", "--heads", "2", "--name", "small", "--out", dir)
		require.Equal(t, exitOK, code, errs)
		require.Contains(t, out, "small, sha256 22806452e2d590fb, 5.16 MB", "both layouts give the same file")
		b, err := model.Load(dir)
		require.NoError(t, err)
		require.Equal(t, "jukebox", b.Encoder.Engine)
		require.Empty(t, errs, "no progress bar without a terminal")
	}
}

func TestModelImportSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	code, _, errs := run(t, "model", "import", "jukebox", "--vqvae", "v")
	require.Equal(t, exitUsage, code)
	require.Contains(t, errs, "--out are needed")
	code, _, errs = run(t, "model", "import", "jukebox", "--vqvae", "v", "--prior", "p", "--out", dir, "--layers", "many")
	require.Equal(t, exitUsage, code, errs)
	code, _, errs = run(t, "model", "import", "jukebox", "--vqvae", filepath.Join(dir, "gone"), "--prior", "p", "--out", dir)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "opening the checkpoint")
	page := filepath.Join(dir, "page.html")
	require.NoError(t, os.WriteFile(page, []byte("<html>"), 0o600))
	code, _, errs = run(t, "model", "import", "jukebox", "--vqvae", page, "--prior", "p", "--out", dir)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "neither a PyTorch checkpoint")
}

func TestModelRandomIsMarked(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "r")
	code, out, errs := run(t, "model", "random", "jukebox", "--preset", "tiny", "--seed", "3", "--out", dir)
	require.Equal(t, exitOK, code, errs)
	require.Contains(t, out, "random")
	b, err := model.Load(dir)
	require.NoError(t, err)
	require.True(t, b.Random)
	require.Contains(t, b.EncoderID, "random")
	code, _, errs = run(t, "model", "random", "jukebox", "--out", dir)
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "holds a bundle already")
	code, _, _ = run(t, "model", "random", "jukebox")
	require.Equal(t, exitUsage, code)
}

func TestBarTellsRateAndTimeLeft(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	b := &bar{line: terminal.New(&out, func() int { return 100 }), start: start}
	b.show(start.Add(10*time.Second), 2e9, 8e9)
	require.Contains(t, out.String(), "[#######.......................] 2 GB of 8 GB, 200 MB/s, 30s left")
	out.Reset()
	b.show(start.Add(10*time.Second+time.Millisecond), 2.1e9, 8e9)
	require.Empty(t, out.String(), "drawn too soon")
	b.show(start.Add(10*time.Second+2*time.Millisecond), 8e9, 8e9)
	require.Contains(t, out.String(), "8 GB of 8 GB")
	out.Reset()
	b.line.Clear()
	require.Equal(t, "\r\x1b[K", out.String())
	quiet := &bar{start: start}
	quiet.show(start, 1, 2)
	quiet.line.Clear()
	require.Equal(t, int64(2), quiet.total)
	require.Equal(t, []string{"0 B", "999 B", "1.5 kB", "1e+03 TB"}, []string{size(0), size(999), size(1500), size(1e15)})
}

func TestModelCheckTellsInTextAndJSON(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "r")
	code, _, errs := run(t, "model", "random", "jukebox", "--out", dir)
	require.Equal(t, exitOK, code, errs)
	code, out, errs := run(t, "model", "check", dir)
	require.Equal(t, exitOK, code, errs)
	require.Regexp(t, `(?m)^ok +memory +.* needed`, out)
	require.Contains(t, out, "hours of music in an hour")

	b, err := model.Read(dir)
	require.NoError(t, err)
	require.NoError(t, os.Truncate(b.EncoderPath(), 10))
	code, out, _ = run(t, "model", "check", "--json", dir)
	require.Equal(t, exitFailed, code)
	var report struct {
		Healthy  bool
		Findings []struct{ State string }
	}
	require.NoError(t, json.Unmarshal([]byte(out), &report))
	require.False(t, report.Healthy)
	require.Equal(t, "fail", report.Findings[len(report.Findings)-1].State)

	code, _, errs = run(t, "model", "check", filepath.Join(dir, "gone"))
	require.Equal(t, exitFailed, code)
	require.Contains(t, errs, "opening the model bundle")
	code, _, _ = run(t, "model", "check")
	require.Equal(t, exitUsage, code)
}

package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/lark/internal/readers"
)

// TestPythonClient generates the typed Python client that make python-client makes from the specification and uses it against the gateway.
func TestPythonClient(t *testing.T) {
	python := readers.Python(t)
	spec, err := filepath.Abs(filepath.Join("..", "..", "docs", "api", "openapi.json"))
	require.NoError(t, err)
	script, err := filepath.Abs(filepath.Join("testdata", "python_client.py"))
	require.NoError(t, err)
	folder := filepath.Join(t.TempDir(), "client")
	bin := filepath.Dir(python)
	generate := exec.CommandContext(t.Context(), filepath.Join(bin, "openapi-python-client"), "generate", "--path", spec, "--output-path", folder, "--fail-on-warning")
	generate.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH")) // for its formatter
	out, err := generate.CombinedOutput()
	require.NoError(t, err, "%s", out)

	s := start(t, options{data: t.TempDir(), env: testEngines()})
	song := filepath.Join(t.TempDir(), "song.wav")
	require.NoError(t, os.WriteFile(song, melody(seedOf(t), 2), 0o600))
	out, err = exec.CommandContext(t.Context(), python, script, folder, s.gateway(), adminKey(), song).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "ok\n", string(out))
}

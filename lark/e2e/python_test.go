package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/lark/internal/readers"
)

// generatePythonClient makes the typed Python client from the specification, as make python-client does, and returns its folder.
func generatePythonClient(t *testing.T) string {
	t.Helper()
	bin := filepath.Dir(readers.Python(t))
	folder := filepath.Join(t.TempDir(), "client")
	spec := filepath.Join(world.root, "docs", "api", "openapi.json")
	generate := exec.CommandContext(t.Context(), filepath.Join(bin, "openapi-python-client"), "generate", "--path", spec, "--output-path", folder, "--fail-on-warning")
	generate.Env = append(os.Environ(), "PATH="+bin+string(os.PathListSeparator)+os.Getenv("PATH")) // for its formatter
	out, err := generate.CombinedOutput()
	require.NoError(t, err, "%s", out)
	return folder
}

// TestPythonClient uses the generated client against the gateway.
func TestPythonClient(t *testing.T) {
	onlyEmbedded(t)
	folder := generatePythonClient(t)
	script, err := filepath.Abs(filepath.Join("testdata", "python_client.py"))
	require.NoError(t, err)
	s := start(t, options{data: t.TempDir(), env: testEngines()})
	song := filepath.Join(t.TempDir(), "song.wav")
	require.NoError(t, os.WriteFile(song, melody(seedOf(t), 2), 0o600))
	out, err := exec.CommandContext(t.Context(), readers.Python(t), script, folder, s.gateway(), adminKey(), song).CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Equal(t, "ok\n", string(out))
}

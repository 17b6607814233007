package cli

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// lark dataset from a folder of audio to an export, and what is wrong usage.
func TestDataset(t *testing.T) {
	t.Parallel()
	from, out := t.TempDir(), t.TempDir()
	song, err := os.ReadFile("../../../models/demo/larksong.mp3")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(from, "song.mp3"), song, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(from, "licence.txt"), []byte("Apache-2.0\n"), 0o600))
	set, shards := filepath.Join(out, "set"), filepath.Join(out, "shards")
	model := "../../../models/lark-nano"
	for _, step := range []struct {
		args []string
		want string
	}{
		{[]string{"import", "folder", "--from", from, "--out", set}, "1 clips of folder"},
		{[]string{"annotate", set}, "annotate: 1 clips, 0 of them done before; 0 failed"},
		{[]string{"generate", set, "--rules"}, " accepted, 0 rejected"},
		{[]string{"generate", set, "--rules"}, "1 of them done before"},
		{[]string{"encode", set, "--model", model, "--json"}, `"failed":0`},
		{[]string{"split", set, "--test", "0", "--validation", "0"}, "train: 1"},
		{[]string{"export", set, "--out", shards}, "pairs under Apache-2.0: "},
		{[]string{"verify", set, "--export", shards}, "0 faults"},
		{[]string{"report", set, "--out", filepath.Join(out, "report.html")}, ""},
	} {
		code, stdout, stderr := run(t, append([]string{"dataset"}, step.args...)...)
		require.Equal(t, exitOK, code, "%v: %s", step.args, stderr)
		require.Contains(t, stdout, step.want, "%v", step.args)
	}
	for _, args := range [][]string{
		{"import", "folder"},
		{"import", "nothing", "--from", from, "--out", set},
		{"annotate", set, "--confidence", "2"},
		{"generate", set, "--llm", "http://x"},
		{"generate", set, "--max-cost", "3"},
		{"generate", set, "--jobs", "0"},
		{"generate", set, "--part", "3/2"},
		{"encode", set, "--server", "http://127.0.0.1:1"},
		{"encode", set, "--server", "nowhere", "--store", "mem://"},
		{"export", set},
		{"split", set, "--test", "1"},
	} {
		code, _, stderr := run(t, append([]string{"dataset"}, args...)...)
		require.Equal(t, exitUsage, code, "%v: %s", args, stderr)
	}
	code, _, stderr := run(t, "dataset", "annotate", t.TempDir())
	require.Equal(t, exitFailed, code)
	require.Contains(t, stderr, "lark dataset import")
}

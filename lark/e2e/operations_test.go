package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/client"
)

// operationsGuide is docs/operations.md.
func operationsGuide(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(world.root, "docs", "operations.md"))
	require.NoError(t, err)
	return string(text)
}

// commandsOf returns the blocks of commands below a heading of docs/operations.md, without those that export variables: tests set them to their own.
func commandsOf(t *testing.T, heading string, want int) (blocks []string) {
	t.Helper()
	_, text, found := strings.Cut(operationsGuide(t), "\n"+heading+"\n")
	require.True(t, found, heading)
	text, _, _ = strings.Cut(text, "\n## ")
	text, _, _ = strings.Cut(text, "\n### ")
	for _, block := range codeBlock.FindAllStringSubmatch(text+"\n", -1) {
		if !strings.HasPrefix(block[2], "export ") {
			blocks = append(blocks, block[2])
		}
	}
	require.Len(t, blocks, want, heading)
	return blocks
}

// requirePrograms ends the test where the guide's commands need a program that is not here.
func requirePrograms(t *testing.T, names ...string) {
	t.Helper()
	for _, name := range names {
		_, err := exec.LookPath(name)
		require.NoError(t, err, "`.ci/deps %s` installs it", name)
	}
}

// TestCommandsOfTheOperationsGuide runs the commands about keys, limits and webhooks of docs/operations.md as they stand there, one after another.
func TestCommandsOfTheOperationsGuide(t *testing.T) {
	onlyEmbedded(t)
	requirePrograms(t, "jq")
	key := "lk_guide_" + strings.Repeat("0123456789abcdef", 4)
	s := start(t, options{data: t.TempDir(), env: []string{"LARK_GATEWAY_AUTH=keys", "LARK_ADMIN_KEY=" + key, "LARK_ENCODER_ENGINE=test", "LARK_LLM_ENGINE=test"}})
	script := []string{`export PATH="` + world.bin + `:$PATH"`}
	for _, section := range []string{"## Keys and tenants", "## Limits and fairness", "## Webhooks"} {
		script = append(script, commandsOf(t, section, 1)...)
	}
	cmd := exec.CommandContext(t.Context(), "bash", "-euxo", "pipefail", "-c", strings.Join(script, "\n"))
	cmd.Env = append(os.Environ(), "LARK_SERVER="+s.gateway(), client.EnvToken+"="+key)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "rotate-key", "the audit log tells")
	require.Contains(t, string(out), "500 windows in flight")
}

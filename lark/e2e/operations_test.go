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

// TestCommandsOfTheOperationsGuide runs the commands of docs/operations.md as they stand there, one after another.
func TestCommandsOfTheOperationsGuide(t *testing.T) {
	onlyEmbedded(t)
	_, err := exec.LookPath("jq")
	require.NoError(t, err, "`.ci/deps jq` installs it")
	guide, err := os.ReadFile(filepath.Join(world.root, "docs", "operations.md"))
	require.NoError(t, err)
	key := "lk_guide_" + strings.Repeat("0123456789abcdef", 4)
	s := start(t, options{data: t.TempDir(), env: []string{"LARK_GATEWAY_AUTH=keys", "LARK_ADMIN_KEY=" + key, "LARK_ENCODER_ENGINE=test", "LARK_LLM_ENGINE=test"}})
	script := []string{`export PATH="` + world.bin + `:$PATH"`}
	blocks := 0
	for _, block := range codeBlock.FindAllStringSubmatch(string(guide), -1) {
		if strings.HasPrefix(block[2], "export ") {
			continue // this test has set them to its own gateway
		}
		blocks++
		script = append(script, block[2])
	}
	require.Equal(t, 3, blocks)
	cmd := exec.CommandContext(t.Context(), "bash", "-euxo", "pipefail", "-c", strings.Join(script, "\n"))
	cmd.Env = append(os.Environ(), "LARK_SERVER="+s.gateway(), client.EnvToken+"="+key)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "rotate-key", "the audit log tells")
	require.Contains(t, string(out), "500 windows in flight")
}

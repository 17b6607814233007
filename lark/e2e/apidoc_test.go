package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/lark/internal/readers"
)

var codeBlock = regexp.MustCompile("(?s)\n```(sh|python|go)\n(.*?)\n```\n")

// TestExamplesOfTheAPIGuide runs the examples of docs/api.md as they stand there.
func TestExamplesOfTheAPIGuide(t *testing.T) {
	onlyEmbedded(t)
	s := tester(t)
	guide, err := os.ReadFile(filepath.Join(world.root, "docs", "api.md"))
	require.NoError(t, err)
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "song.wav"), melody(seedOf(t), 2), 0o600))
	t.Setenv("OPENAI_BASE_URL", s.gateway()+"/v1")
	t.Setenv("OPENAI_API_KEY", openAIKey())
	t.Setenv("LARK_URL", s.gateway())
	t.Setenv("LARK_TOKEN", openAIKey())
	t.Setenv("PYTHONPATH", generatePythonClient(t))
	ran := map[string]int{}
	for _, block := range codeBlock.FindAllStringSubmatch(string(guide), -1) {
		language, code := block[1], block[2]
		if strings.HasPrefix(code, "export ") {
			require.Contains(t, code, "=http://127.0.0.1:8080")
			continue // this test has set them to its own gateway
		}
		ran[language]++
		switch language {
		case "sh":
			cmd := exec.CommandContext(t.Context(), "bash", "-euo", "pipefail", "-c", code)
			cmd.Dir = dir
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Regexp(t, `"(content|answer)":"Test answer`, string(out))
		case "python":
			out := readers.Run(t, fmt.Sprintf("import os\nos.chdir(%q)\n%s", dir, code))
			require.Contains(t, string(out), "Test answer")
			require.Equal(t, strings.Contains(code, "json_schema"), strings.Contains(string(out), `"tempo_bpm"`))
		case "go":
			program := filepath.Join(t.TempDir(), "main.go")
			require.NoError(t, os.WriteFile(program, []byte(code), 0o600))
			build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(dir, "example"), program)
			build.Dir = filepath.Join(world.root, "lark") // whose module names OpenAI's
			out, err := build.CombinedOutput()
			require.NoError(t, err, "%s", out)
			cmd := exec.CommandContext(t.Context(), filepath.Join(dir, "example"))
			cmd.Dir = dir
			out, err = cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.Contains(t, string(out), "Test answer")
		}
	}
	require.Equal(t, map[string]int{"sh": 3, "python": 2, "go": 2}, ran)
}

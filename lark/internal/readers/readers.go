// Package readers runs the programs of others by which tests read what lark writes. It is for tests only.
package readers

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// Python is the interpreter of the environment that lark/readers/venv makes. Where the environment is missing, the test is skipped, unless
// LARK_READERS_REQUIRED demands it, as CI does.
func Python(t *testing.T) string {
	t.Helper()
	_, here, _, _ := runtime.Caller(0)
	python := filepath.Join(filepath.Dir(here), "..", "..", "..", "build", "readers", "bin", "python")
	if _, err := os.Stat(python); err != nil {
		if os.Getenv("LARK_READERS_REQUIRED") != "" {
			t.Fatalf("there is no %s: run lark/readers/venv", python)
		}
		t.Skip("the readers are not installed: run lark/readers/venv")
	}
	return python
}

// Run runs a Python script with arguments by Python and returns what it prints.
func Run(t *testing.T, script string, args ...string) []byte {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), Python(t), append([]string{"-c", script}, args...)...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("the reader failed: %v\n%s", err, out)
	}
	return out
}

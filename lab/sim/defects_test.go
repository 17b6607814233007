package sim

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestTheKnownDefectsCanBePutBack: each patch of a known defect still fits the code.
func TestTheKnownDefectsCanBePutBack(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("patch")
	require.NoError(t, err, "`.ci/deps patch` installs it")
	patches, err := filepath.Glob("testdata/defects/*.patch")
	require.NoError(t, err)
	require.NotEmpty(t, patches)
	for _, name := range patches {
		path, err := filepath.Abs(name)
		require.NoError(t, err)
		out, err := exec.CommandContext(t.Context(), program, "--dry-run", "--force", "-p1", "-d", "../..", "-i", path).CombinedOutput()
		require.NoErrorf(t, err, "%s does not fit the code any more: put the defect back in its new form\n%s", name, out)
	}
}

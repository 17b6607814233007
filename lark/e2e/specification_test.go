package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/lark/internal/readers"
)

// TestTheSpecificationHolds lets schemathesis try the gateway against its OpenAPI document: no request of any operation makes the gateway fail, answers have the
// documented forms and statuses, what the document forbids is refused, and so is every operation without a key where keys are asked for.
//
// Left out are: event streams, which do not end; submitting a job, whose form with a file schemathesis cannot make (it ends in "Unsupported type: 'Binary'"); and the
// check that whatever fits the document is accepted, for no schema can say which URL is on the public internet or which cursor a list gave out.
func TestTheSpecificationHolds(t *testing.T) {
	if world.kafka == nil && os.Getenv("LARK_SCHEMATHESIS") == "" {
		t.Skip("it takes a minute of processor time; see make test-integration, or set LARK_SCHEMATHESIS=1")
	}
	python := readers.Python(t)
	s := start(t, options{data: t.TempDir(), env: testEngines()})
	hooks, err := filepath.Abs(filepath.Join("testdata", "schemathesis_hooks.py"))
	require.NoError(t, err)
	spec, err := filepath.Abs(filepath.Join("..", "..", "docs", "api", "openapi.json"))
	require.NoError(t, err)
	args := []string{
		"run", spec, "--url", s.gateway(), "--phases", "examples,coverage,fuzzing", "--max-examples", "5", "--seed", strconv.FormatUint(seedOf(t), 10),
		"--exclude-checks", "positive_data_acceptance", "--exclude-operation-id", "watch-job", "--exclude-operation-id", "watch-run", "--exclude-operation-id", "submit-job",
		"--continue-on-failure", "--warnings", "off", "--request-timeout", "60", "--no-color",
	}
	if key := adminKey(); key != "" {
		args = append(args, "--header", "Authorization: Bearer "+key)
	}
	cmd := exec.CommandContext(t.Context(), filepath.Join(filepath.Dir(python), "schemathesis"), args...)
	cmd.Dir = t.TempDir() // for its files
	cmd.Env = append(os.Environ(), "SCHEMATHESIS_HOOKS="+hooks)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
}

package api_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the specification to docs/api/openapi.json")

const snapshot = "../../../docs/api/openapi.json"

// TestOpenAPI keeps the published specification equal to what the gateway serves.
func TestOpenAPI(t *testing.T) {
	t.Parallel()
	raw, err := setup(t).api.OpenAPI()
	require.NoError(t, err)
	var pretty bytes.Buffer
	require.NoError(t, json.Indent(&pretty, raw, "", "  "))
	pretty.WriteByte('\n')
	if *update {
		require.NoError(t, os.WriteFile(snapshot, pretty.Bytes(), 0o600))
	}
	want, err := os.ReadFile(snapshot)
	require.NoError(t, err)
	require.Equal(t, string(want), pretty.String(), "the specification has changed: run go generate ./internal/api in gateway/")
}

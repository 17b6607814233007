package doctor

import (
	"encoding/json"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/native"
	"github.com/larkstream/larkstream/engine/native/nativetest"
)

func TestLibrariesAreNotNeeded(t *testing.T) {
	t.Parallel()
	f := find(t, setup(t, nil), "native") // beside the test's executable there are none
	require.Equal(t, OK, f.State)
	require.Contains(t, f.Detail, "make native")
	require.Empty(t, f.Devices)

	f = find(t, setup(t, map[string]string{"LARK_NATIVE_DIR": t.TempDir()}), "native")
	require.Equal(t, Fail, f.State, "a folder that was named must hold them")
	require.Contains(t, f.Remedy, "make native")
}

func TestDevicesAreListed(t *testing.T) {
	t.Parallel()
	f := find(t, setup(t, map[string]string{"LARK_NATIVE_DIR": nativetest.Dir(t)}), "native")
	require.Equal(t, OK, f.State)
	require.Contains(t, f.Detail, native.GGMLVersion)
	require.Contains(t, f.Detail, "CPU (")
	text, err := json.Marshal(f)
	require.NoError(t, err)
	require.Contains(t, string(text), `"kind":"cpu"`)
	require.Positive(t, f.Devices[0].TotalBytes)
}

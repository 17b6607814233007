// Package nativetest finds llama.cpp's libraries for tests.
package nativetest

import (
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/native"
)

// RequiredEnv names the variable that, set to 1, makes tests that need the libraries fail without them. `make test` sets it.
const RequiredEnv = "LARK_NATIVE_REQUIRED"

// Dir is the folder of the libraries: LARK_NATIVE_DIR, else bin/native/cpu of the work tree. Without
// libraries there the test is skipped, or fails if LARK_NATIVE_REQUIRED is 1.
func Dir(t testing.TB) string {
	t.Helper()
	dir := os.Getenv("LARK_NATIVE_DIR")
	if dir == "" {
		dir = filepath.Join(root(t), "bin", "native", native.Variant)
	}
	if _, err := os.Stat(dir); err != nil { //nolint:gosec // the operator's own folder
		if os.Getenv(RequiredEnv) == "1" {
			require.FailNow(t, "llama.cpp's libraries are required and missing", "%s: %s", dir, native.Remedy)
		}
		t.Skipf("no llama.cpp libraries in %s: %s", dir, native.Remedy)
	}
	return dir
}

// Open opens the libraries of Dir. They are the process's: their log goes to standard error, not to one test.
func Open(t testing.TB) *native.Library {
	t.Helper()
	l, err := native.Open(Dir(t), native.Deps{Log: slog.New(slog.NewTextHandler(os.Stderr, nil))})
	require.NoError(t, err)
	return l
}

// root is the folder of go.work.
func root(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	require.NoError(t, err)
	for {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir
		}
		parent := filepath.Dir(dir)
		require.NotEqual(t, parent, dir, "the test does not run in the work tree")
		dir = parent
	}
}

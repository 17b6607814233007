package npy

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// The bytes are what numpy.save wrote.
func TestFilesAreNumpysOwn(t *testing.T) {
	t.Parallel()
	const golden = "../../engine/encoder/jukebox/testdata/"
	for name, write := range map[string]func(w *bytes.Buffer, raw []byte) error{
		"rows.npy":         func(w *bytes.Buffer, raw []byte) error { return Write(w, values[int32](t, raw), 260) },
		"short_pooled.npy": func(w *bytes.Buffer, raw []byte) error { return Write(w, values[float32](t, raw), 1, 64) },
	} {
		want, err := os.ReadFile(filepath.Join(golden, name))
		require.NoError(t, err)
		var got bytes.Buffer
		require.NoError(t, write(&got, want[128:]))
		require.Equal(t, want, got.Bytes(), name)
	}
}

func TestShapesThatDoNotFitAreRefused(t *testing.T) {
	t.Parallel()
	require.ErrorContains(t, Write(new(bytes.Buffer), []int32{1, 2, 3}, 2, 2), "3 values do not have shape [2 2]")
	require.ErrorContains(t, WriteFile(filepath.Join(t.TempDir(), "none", "x"), []int32{}, 0), "writing an array")
}

func values[T int32 | float32](t *testing.T, raw []byte) []T {
	t.Helper()
	out := make([]T, len(raw)/4)
	_, err := binary.Decode(raw, binary.LittleEndian, out)
	require.NoError(t, err)
	return out
}

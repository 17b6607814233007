package blob_test

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/blob"
)

func TestFreeSpaceOfTheDisk(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" && runtime.GOOS != "darwin" {
		t.Skip("the system does not tell")
	}
	dir := t.TempDir()
	s, err := blob.Open(t.Context(), "file://"+dir)
	require.NoError(t, err)
	free, known, err := s.Free()
	require.NoError(t, err)
	require.True(t, known)
	require.Positive(t, free)
	_, _, err = blob.FreeBytes(filepath.Join(dir, "none"))
	require.ErrorIs(t, err, os.ErrNotExist)

	s, err = blob.Open(t.Context(), "mem://")
	require.NoError(t, err)
	_, known, err = s.Free()
	require.NoError(t, err)
	require.False(t, known)
}

func TestFullDisksAreTold(t *testing.T) {
	t.Parallel()
	require.True(t, blob.Full(fmt.Errorf("writing: %w", &os.PathError{Op: "write", Err: syscall.ENOSPC})))
	require.True(t, blob.Full(syscall.EDQUOT))
	require.False(t, blob.Full(syscall.EIO))
	require.False(t, blob.Full(nil))
}

package blob_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/blob"
)

// TestAFullDisk fills a real disk of a megabyte. Where the test may not mount one, the tests of those who write have its error instead.
func TestAFullDisk(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=1m"); err != nil {
		require.True(t, errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES), "%v", err)
		t.Skip("this user may not mount")
	}
	defer func() { require.NoError(t, syscall.Unmount(dir, syscall.MNT_DETACH)) }()
	s, err := blob.Open(t.Context(), "file://"+dir)
	require.NoError(t, err)
	free, known, err := s.Free()
	require.NoError(t, err)
	require.True(t, known)
	require.LessOrEqual(t, free, int64(1<<20))

	require.NoError(t, s.PutBytes(t.Context(), "pcm/a", []byte("old")))
	err = s.PutBytes(t.Context(), "pcm/a", make([]byte, 2<<20))
	require.True(t, blob.Full(err), "%v", err)
	var down interface{ Unavailable() bool }
	require.ErrorAs(t, err, &down)
	require.True(t, down.Unavailable(), "stages wait")
	old, err := s.GetBytes(t.Context(), "pcm/a", 10)
	require.NoError(t, err)
	require.Equal(t, "old", string(old))
	var files []string
	require.NoError(t, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			files = append(files, path)
		}
		return err
	}))
	require.Equal(t, []string{filepath.Join(dir, "pcm", "a")}, files, "no half of an object is left")
	require.NoError(t, os.Remove(filepath.Join(dir, "pcm", "a")))
}

package blob

import (
	"errors"
	"fmt"
	"syscall"
)

// Free returns how many bytes the disk of a file:// store still has room for; known is false for other stores.
func (s *Store) Free() (bytes int64, known bool, err error) {
	files, ok := s.bucket.(*fileBucket)
	if !ok {
		return 0, false, nil
	}
	return FreeBytes(files.dir)
}

// FreeBytes returns how many bytes an ordinary user may still write to the disk of a folder; known is false on systems that do not tell.
func FreeBytes(dir string) (bytes int64, known bool, err error) {
	bytes, known, err = freeBytes(dir)
	if err != nil {
		return 0, false, fmt.Errorf("reading the free space of %s: %w", dir, err)
	}
	return bytes, known, nil
}

// Full tells whether an error of a write says that the disk, or the user's share of it, is full.
func Full(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

//go:build unix

package model

import (
	"os"

	"golang.org/x/sys/unix"
)

func mapFile(f *os.File, size int64) (raw []byte, unmap func() error, err error) {
	raw, err = unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, nil, err
	}
	return raw, func() error { return unix.Munmap(raw) }, nil
}

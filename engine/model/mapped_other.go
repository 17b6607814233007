//go:build !unix

package model

import (
	"io"
	"os"
)

// mapFile reads the whole file where there is no mapping.
func mapFile(f *os.File, size int64) (raw []byte, unmap func() error, err error) {
	raw = make([]byte, size)
	_, err = io.ReadFull(io.NewSectionReader(f, 0, size), raw)
	return raw, func() error { return nil }, err
}

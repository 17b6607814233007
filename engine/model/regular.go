package model

import (
	"errors"
	"fmt"
	"os"
)

// errIrregular says that a name leads to no file with bytes in it.
var errIrregular = errors.New("is not a regular file")

// OpenFile opens a regular file of a bundle or checkpoint, or a link to one. It refuses everything else before it opens it: a pipe would block, a device
// would never end.
func OpenFile(path string) (*os.File, error) {
	if _, err := regular(path); err != nil {
		return nil, err
	}
	return os.Open(path)
}

// regular returns the size of a regular file.
func regular(path string) (int64, error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, err
	}
	if !info.Mode().IsRegular() {
		return 0, fmt.Errorf("%s %w but %s", path, errIrregular, info.Mode().Type())
	}
	return info.Size(), nil
}

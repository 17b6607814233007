//go:build !linux

package tensor

import "errors"

// permitTiles is known for Linux only.
func permitTiles() error { return errors.ErrUnsupported }

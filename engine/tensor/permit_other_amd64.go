//go:build !linux

package tensor

// permitTiles is known for Linux only.
func permitTiles() error { return errNotPermitted }

//go:build !synctests

package sim

// Seeds needs the tag synctests.
func Seeds(uint64, uint64, int, Options, func(Result)) error { return ErrNotBuilt }

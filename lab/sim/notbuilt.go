//go:build !synctests

package sim

import "context"

// Seeds needs the tag synctests.
func Seeds(context.Context, uint64, uint64, int, Options, func(Result)) error { return ErrNotBuilt }

//go:build !linux && !darwin

package blob

// freeBytes is not known here.
func freeBytes(string) (int64, bool, error) { return 0, false, nil }

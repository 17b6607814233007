//go:build linux || darwin

package blob

import "syscall"

// freeBytes is what an ordinary user may still write to the disk of a folder.
func freeBytes(dir string) (int64, bool, error) {
	var s syscall.Statfs_t
	if err := syscall.Statfs(dir, &s); err != nil {
		return 0, false, err
	}
	return int64(s.Bavail) * int64(s.Bsize), true, nil // the types differ between systems
}

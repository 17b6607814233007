// Package memlimit tells how much memory this process may take: the limit of its container, which is often far below what the machine has.
package memlimit

import (
	"io/fs"
	"os"
	"path"
	"strconv"
	"strings"
)

// Bytes is the lowest memory limit of the control groups that hold this process, 0 if there is none or the system has no control groups.
func Bytes() int64 { return of(os.DirFS("/")) }

// of reads the limit in a file system: /proc/self/cgroup names the groups, whose files lie below /sys/fs/cgroup (cgroups(7)). Inside
// a container the groups are often mounted without the path that /proc tells, so every folder on the way up is asked, and the root.
func of(root fs.FS) int64 {
	raw, err := fs.ReadFile(root, "proc/self/cgroup")
	if err != nil {
		return 0
	}
	lowest := int64(0)
	for line := range strings.Lines(string(raw)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		base, file := "sys/fs/cgroup", "memory.max"
		if parts[0] != "0" {
			base, file = "sys/fs/cgroup/memory", "memory.limit_in_bytes"
			if !strings.Contains(","+parts[1]+",", ",memory,") {
				continue
			}
		}
		lowest = lower(lowest, lowestOnTheWayUp(root, base, parts[2], file))
	}
	return lowest
}

func lowestOnTheWayUp(root fs.FS, base, group, file string) (lowest int64) {
	for dir := path.Join("/", group); ; dir = path.Dir(dir) {
		lowest = lower(lowest, read(root, path.Join(base, dir, file)))
		if dir == "/" {
			return lowest
		}
	}
}

// unlimited is what version 1 writes where there is no limit: the largest number of whole pages.
const unlimited = 1 << 60

func read(root fs.FS, name string) int64 {
	raw, err := fs.ReadFile(root, name)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(raw)), 10, 64)
	if err != nil || n <= 0 || n >= unlimited { // "max" is no number
		return 0
	}
	return n
}

// lower is the lower of two limits, of which 0 is none.
func lower(a, b int64) int64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

package bench

import (
	"fmt"
	"os"
	"strings"
)

// peakRSS is the largest resident size that a process (its id, or self) has had, in bytes: VmHWM of /proc. It is 0 where there
// is no /proc.
func peakRSS(pid string) int64 {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return 0
	}
	return parsePeak(string(text))
}

func parsePeak(status string) int64 {
	for line := range strings.Lines(status) {
		var kib int64
		if _, err := fmt.Sscanf(line, "VmHWM: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}

package bench

import (
	"fmt"
	"os"
	"strconv"
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

// loadAverage is the system's, over the last minute; 0 where there is no /proc.
func loadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	return parseLoad(string(text))
}

func parseLoad(text string) float64 {
	first, _, _ := strings.Cut(text, " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return load
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

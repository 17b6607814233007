package bench

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory is resident memory in bytes; 0 where there is no /proc.
type Memory struct {
	// Peak is the largest resident size, pages of mapped files included.
	Peak int64 `json:"peak_bytes"`
	// Anonymous is the process's own part of it. File is the part of mapped files, which the system may drop at any time: the most seen of
	// each, at different times perhaps.
	Anonymous int64 `json:"anonymous_bytes"`
	File      int64 `json:"file_bytes"`
}

// max takes the larger of each size.
func (m Memory) max(o Memory) Memory {
	return Memory{max(m.Peak, o.Peak), max(m.Anonymous, o.Anonymous), max(m.File, o.File)}
}

// resident is the memory of a process (its id, or self): so far at most, and now.
func resident(pid string) Memory {
	text, err := os.ReadFile("/proc/" + pid + "/status")
	if err != nil {
		return Memory{}
	}
	return parseMemory(string(text))
}

// PeakRSS is the largest resident size that a process has had, in bytes.
func PeakRSS(pid string) int64 { return resident(pid).Peak }

func parseMemory(status string) Memory {
	var m Memory
	sizes := map[string]*int64{"VmHWM:": &m.Peak, "RssAnon:": &m.Anonymous, "RssFile:": &m.File}
	for line := range strings.Lines(status) {
		var name string
		var kib int64
		if _, err := fmt.Sscanf(line, "%s %d kB", &name, &kib); err == nil && sizes[name] != nil {
			*sizes[name] = kib << 10
		}
	}
	return m
}

// processorOf is the processor time that a process has used, in seconds; 0 where there is no /proc.
func processorOf(pid string) float64 {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0
	}
	return parseProcessor(string(text))
}

// parseProcessor adds the user and the system time of proc(5), which are the 14th and the 15th field. The second field is a name in brackets
// that may hold anything.
func parseProcessor(stat string) float64 {
	const ticksPerSecond = 100 // of Linux on every processor that Go knows
	_, rest, _ := strings.Cut(stat[strings.LastIndexByte(stat, ')')+1:], " ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, err := strconv.ParseInt(fields[11], 10, 64)
	system, err2 := strconv.ParseInt(fields[12], 10, 64)
	if err != nil || err2 != nil {
		return 0
	}
	return float64(user+system) / ticksPerSecond
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

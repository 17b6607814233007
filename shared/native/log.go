package native

import (
	"log/slog"
	"slices"
	"strings"
	"sync"
	"unsafe"
)

// Levels of ggml_log_level.
const (
	levelWarn     = 3
	levelError    = 4
	levelContinue = 5

	maxLogLine = 4 << 10 // bytes
	maxCapture = 8       // lines
)

// sink takes the libraries' log: warnings and errors go to slog, the rest is dropped.
type sink struct {
	log *slog.Logger

	mu       sync.Mutex
	level    int32 // of the last line, for its continuations
	captures []*[]string
}

// receive is ggml_log_callback. The libraries call it from any of their threads.
func (s *sink) receive(level int32, text *byte, _ uintptr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if level == levelContinue {
		level = s.level
	}
	s.level = level
	if level < levelWarn || text == nil {
		return
	}
	line := strings.TrimSpace(goString(text, maxLogLine))
	switch {
	case line == "" || strings.Trim(line, ".") == "": // progress dots
	case level == levelError && len(s.captures) > 0:
		for _, lines := range s.captures {
			if len(*lines) < maxCapture {
				*lines = append(*lines, line)
			}
		}
	case level == levelError:
		s.log.Error("llama.cpp reports an error", "text", line)
	default:
		s.log.Warn("llama.cpp warns", "text", line)
	}
}

// capture collects the errors reported while f runs. Captures that run at the same time each get all of them: a report
// does not tell which call it belongs to.
func (s *sink) capture(f func()) string {
	lines := new([]string)
	s.mu.Lock()
	s.captures = append(s.captures, lines)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.captures = slices.DeleteFunc(s.captures, func(l *[]string) bool { return l == lines })
	}()
	f()
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(*lines, "; ")
}

// goString copies a C string of at most limit bytes.
func goString(p *byte, limit int) string {
	n := 0
	for n < limit && *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return strings.Clone(unsafe.String(p, n))
}

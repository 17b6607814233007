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

	// sharedMemory is in the warning that a context's memory is larger than the model's context. It means nothing where
	// many sequences share the memory.
	sharedMemory = "possible training context overflow"

	maxLogLine = 4 << 10 // bytes
	maxCapture = 8       // lines
)

// sink takes the libraries' log: warnings and errors go to slog, the rest is dropped.
type sink struct {
	log *slog.Logger

	mu       sync.Mutex
	level    int32 // of the last line, for its continuations
	captures []*[]report
}

// report is one line of the log.
type report struct {
	level int32
	text  string
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
	line := report{level, strings.TrimSpace(goString(text, maxLogLine))}
	if strings.Trim(line.text, ".") == "" { // progress is shown as dots
		return
	}
	if strings.Contains(line.text, sharedMemory) {
		return
	}
	if len(s.captures) == 0 {
		s.write(line)
	}
	for _, lines := range s.captures {
		if len(*lines) < maxCapture {
			*lines = append(*lines, line)
		}
	}
}

func (s *sink) write(r report) {
	if r.level == levelError {
		s.log.Error("llama.cpp reports an error", "text", r.text)
		return
	}
	s.log.Warn("llama.cpp warns", "text", r.text)
}

// capture collects what is reported while f runs: it is logged if f goes well, else returned. Captures that run at the
// same time each get all of it: a report does not tell which call it belongs to.
func (s *sink) capture(f func() bool) string {
	lines := new([]report)
	s.mu.Lock()
	s.captures = append(s.captures, lines)
	s.mu.Unlock()
	ok := f()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.captures = slices.DeleteFunc(s.captures, func(l *[]report) bool { return l == lines })
	var texts []string
	for _, r := range *lines {
		if ok {
			s.write(r)
		}
		texts = append(texts, r.text)
	}
	if ok {
		return ""
	}
	return strings.Join(texts, "; ")
}

// goString copies a C string of at most limit bytes.
func goString(p *byte, limit int) string {
	n := 0
	for n < limit && *(*byte)(unsafe.Add(unsafe.Pointer(p), n)) != 0 {
		n++
	}
	return strings.Clone(unsafe.String(p, n))
}

package supervise

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// maxLine bounds one line of a child's output; longer ones are broken up.
const maxLine = 64 << 10

// lineWriter passes whole lines on.
type lineWriter struct {
	to  io.Writer
	mu  sync.Mutex
	buf []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf = append(w.buf, p...)
	for {
		end := bytes.IndexByte(w.buf, '\n')
		if end < 0 && len(w.buf) < maxLine {
			return len(p), nil
		}
		if end < 0 || end > maxLine {
			end = maxLine - 1
		}
		// A full disk must not block or kill the child: its output is lost, its work is not.
		_, _ = w.to.Write(w.buf[:end+1])
		w.buf = append(w.buf[:0], w.buf[end+1:]...)
	}
}

// tail keeps the last lines written to it.
type tail struct {
	mu    sync.Mutex
	lines []string
	limit int
}

func newTail(limit int) *tail { return &tail{limit: limit} }

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, strings.TrimRight(string(p), "\n"))
	if len(t.lines) > t.limit {
		t.lines = t.lines[len(t.lines)-t.limit:]
	}
	return len(p), nil
}

// clear forgets the lines of an earlier process.
func (t *tail) clear() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = nil
}

func (t *tail) text() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == 0 {
		return ""
	}
	return "; its last lines:\n  " + strings.Join(t.lines, "\n  ")
}

// Prefixed gives a writer that puts prefix before each line. Writers that share mu do not mix their lines.
func Prefixed(to io.Writer, prefix string, mu *sync.Mutex) io.Writer {
	return &prefixed{to: to, prefix: prefix, mu: mu}
}

type prefixed struct {
	to     io.Writer
	prefix string
	mu     *sync.Mutex
}

func (w *prefixed) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := fmt.Fprintf(w.to, "%s%s", w.prefix, p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// LogFile appends to a file and keeps it, with one older generation, within a limit.
type LogFile struct {
	path  string
	limit int64
	mu    sync.Mutex
	file  *os.File
	size  int64
}

// OpenLog opens path for appending. When the file has reached limit bytes it is renamed to path + ".1", replacing the
// one before: at most 2 * limit bytes are kept.
func OpenLog(path string, limit int64) (*LogFile, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("making log folder: %w", err)
	}
	l := &LogFile{path: path, limit: limit}
	if err := l.open(); err != nil {
		return nil, err
	}
	return l, nil
}

func (l *LogFile) open() error {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		_ = f.Close()
		return fmt.Errorf("opening log: %w", err)
	}
	l.file, l.size = f, info.Size()
	return nil
}

// Write appends p.
func (l *LogFile) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.size > 0 && l.size+int64(len(p)) > l.limit {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(p)
	l.size += int64(n)
	return n, err
}

func (l *LogFile) rotate() error {
	if err := l.file.Close(); err != nil {
		return fmt.Errorf("rotating log: %w", err)
	}
	if err := os.Rename(l.path, l.path+".1"); err != nil {
		return fmt.Errorf("rotating log: %w", err)
	}
	return l.open()
}

// Close closes the file.
func (l *LogFile) Close() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.file.Close()
}

package kafka

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// The client library repeats a warning with each try; one line in this time is enough.
	clientLogEvery = 30 * time.Second
	// clientLogTexts bounds the texts that are remembered. The library has about 150.
	clientLogTexts = 500
)

// libraryLog passes on what the client library warns of, such as an offset that retention has deleted or a commit that failed.
type libraryLog struct {
	log *slog.Logger

	mu   sync.Mutex
	last map[string]time.Time // text -> when it was logged
}

var _ kgo.Logger = (*libraryLog)(nil)

// Level is asked before each line; below it the library builds none.
func (l *libraryLog) Level() kgo.LogLevel {
	if l.log.Enabled(context.Background(), slog.LevelDebug) {
		return kgo.LogLevelInfo
	}
	return kgo.LogLevelWarn
}

// Log writes a line of the library: its errors and warnings as warnings, because it tries again by itself, the rest as debug.
func (l *libraryLog) Log(level kgo.LogLevel, msg string, keyvals ...any) {
	to := slog.LevelDebug
	if level == kgo.LogLevelError || level == kgo.LogLevelWarn {
		to = slog.LevelWarn
	}
	// connectionLog tells of broker connections, once for each change.
	if msg == "unable to open connection to broker" || (to == slog.LevelWarn && !l.due(msg)) {
		return
	}
	l.log.Log(context.Background(), to, "kafka client: "+msg, keyvals...) //nolint:sloglint // the library's own text and keys
}

// due tells whether the text was not logged for a while.
func (l *libraryLog) due(msg string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if last, ok := l.last[msg]; ok && time.Since(last) < clientLogEvery {
		return false
	}
	if l.last == nil || len(l.last) >= clientLogTexts {
		l.last = make(map[string]time.Time)
	}
	l.last[msg] = time.Now()
	return true
}

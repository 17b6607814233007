package telemetry

import (
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
)

// A collector that is away makes one log line in this time, not one per batch.
const errorLogInterval = time.Minute

// tracesURL returns the full URL that traces are sent to, or "".
func tracesURL(cfg Config) string {
	switch {
	case cfg.OTLPTracesEndpoint != "":
		return cfg.OTLPTracesEndpoint
	case cfg.OTLPEndpoint != "":
		return join(cfg.OTLPEndpoint, "/v1/traces")
	}
	return ""
}

// join appends path to an endpoint, which may lack its scheme, as many configurations write it.
func join(endpoint, path string) string {
	if !strings.Contains(endpoint, "://") {
		endpoint = "http://" + endpoint
	}
	return strings.TrimSuffix(endpoint, "/") + path
}

// newErrorHandler logs OpenTelemetry's own faults, at most one per errorLogInterval.
func newErrorHandler(log *slog.Logger) otel.ErrorHandler {
	var last atomic.Int64
	return otel.ErrorHandlerFunc(func(err error) {
		now, before := time.Now().UnixNano(), last.Load()
		if before != 0 && now-before < int64(errorLogInterval) || !last.CompareAndSwap(before, now) {
			return
		}
		log.Warn("exporting telemetry", "error", err)
	})
}

func logOutput(cfg Config) io.Writer {
	if cfg.LogOutput == nil {
		return os.Stderr
	}
	return cfg.LogOutput
}

package service

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/larkstream/larkstream/shared/telemetry"
)

const (
	readHeaderTimeout = 10 * time.Second
	idleTimeout       = 2 * time.Minute
	maxHeaderBytes    = 64 << 10
	// closeTimeout bounds the end of requests that are still open when all parts have stopped.
	closeTimeout = 5 * time.Second
)

// routes returns the service's own routes and the routes of its parts.
func (s *service) routes(tel *telemetry.Telemetry) (handler http.Handler, err error) {
	defer func() { // ServeMux panics on conflicting patterns, which are the caller's fault
		if p := recover(); p != nil {
			err = fmt.Errorf("starting %s: adding routes: %v", s.name, p)
		}
	}()
	open, mux := http.NewServeMux(), http.NewServeMux()
	probes := map[string]http.Handler{
		"/healthz": http.HandlerFunc(s.health), "/readyz": http.HandlerFunc(s.ready), "/metrics": s.guarded(tel.MetricsHandler()),
	}
	for path, h := range probes {
		mux.Handle("GET "+path, h) // refuses a part's route to the same path
		open.Handle("GET "+path, h)
		open.HandleFunc(path, onlyGet)
	}
	if s.cfg.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	for _, p := range s.parts {
		for pattern, h := range p.Routes {
			mux.Handle(pattern, h)
		}
	}
	open.Handle("/", s.refuseSpare(s.guarded(mux)))
	return bounded(open), nil
}

// guarded stands behind the guards of all parts.
func (s *service) guarded(h http.Handler) http.Handler {
	for _, p := range slices.Backward(s.parts) {
		if p.Guard != nil {
			h = p.Guard(h)
		}
	}
	return h
}

func onlyGet(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Allow", "GET, HEAD")
	http.Error(w, "use GET", http.StatusMethodNotAllowed)
}

// health says that the process lives: it does not look at the parts.
func (s *service) health(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, http.StatusOK, map[string]string{"status": "ok", "service": s.name, "version": s.version})
}

// ready says whether the service can work, part by part. A degraded service is ready: taking it out of service would make matters worse.
func (s *service) ready(w http.ResponseWriter, _ *http.Request) {
	parts, ready, degraded := s.readiness()
	state, status := "ready", http.StatusOK
	switch {
	case s.stopping.Load():
		state, status = "stopping", http.StatusServiceUnavailable
	case !ready:
		state, status = "not ready", http.StatusServiceUnavailable
	case degraded:
		state = "degraded"
	}
	writeJSON(w, status, map[string]any{"status": state, "parts": parts})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "encoding the answer", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client is gone when this fails
}

// serve returns the HTTP server as the Run of a part.
func serve(listener *gate, handler http.Handler, log *slog.Logger) func(context.Context) error {
	return func(ctx context.Context) error {
		srv := &http.Server{
			Handler: handler, ReadHeaderTimeout: readHeaderTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeaderBytes,
			ConnContext: connContext, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
		}
		stopped := make(chan error, 1)
		//nolint:contextcheck // ctx has ended: open requests finish on a time of their own
		unhook := context.AfterFunc(ctx, func() { stopped <- shutdown(srv) })
		if err := srv.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			if unhook() {
				return err
			}
			return errors.Join(err, <-stopped)
		}
		return <-stopped
	}
}

// shutdown lets open requests finish for a moment and then cuts them off.
func shutdown(srv *http.Server) error {
	ctx, cancel := context.WithTimeout(context.Background(), closeTimeout)
	defer cancel()
	if err := srv.Shutdown(ctx); err != nil {
		return srv.Close()
	}
	return nil
}

// state is the content of the state file.
type state struct {
	PID      int    `json:"pid"`
	HTTPAddr string `json:"http_addr"`
}

// writeState writes the state file in one step and returns what removes it.
func writeState(path, addr string) (remove func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	body, err := json.Marshal(state{PID: os.Getpid(), HTTPAddr: addr})
	if err != nil {
		return nil, fmt.Errorf("encoding the state file: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return nil, fmt.Errorf("writing the state file: %w", err)
	}
	if err := os.WriteFile(path+".tmp", body, 0o600); err != nil {
		return nil, fmt.Errorf("writing the state file: %w", err)
	}
	if err := os.Rename(path+".tmp", path); err != nil {
		return nil, fmt.Errorf("writing the state file: %w", err)
	}
	return func() { _ = os.Remove(path) }, nil // if this fails, readers find that the process it names is dead
}

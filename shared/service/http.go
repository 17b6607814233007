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
	"strings"
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

// front is what one listener serves.
type front struct {
	// open is served to everybody, before any guard, and watched behind the guard, both also on spare connections.
	open, watched map[string]http.Handler
	// routes stand behind the guard.
	routes []map[string]http.Handler
	guard  func(http.Handler) http.Handler
}

// fronts are what HTTPAddr and AdminAddr serve. Without an AdminAddr, HTTPAddr serves all of it.
func (s *service) fronts(tel *telemetry.Telemetry) (public, admin front) {
	probes := map[string]http.Handler{"GET /healthz": http.HandlerFunc(s.health), "GET /readyz": http.HandlerFunc(s.ready)}
	public = front{open: probes, guard: guards(s.parts, func(p Part) func(http.Handler) http.Handler { return p.Guard })}
	admin = front{open: probes, guard: guards(s.parts, func(p Part) func(http.Handler) http.Handler { return p.AdminGuard })}
	admin.watched = map[string]http.Handler{"GET /metrics": tel.MetricsHandler()}
	profiles := make(map[string]http.Handler)
	if s.cfg.Pprof {
		for path, h := range map[string]http.HandlerFunc{
			"": pprof.Index, "cmdline": pprof.Cmdline, "profile": pprof.Profile, "symbol": pprof.Symbol, "trace": pprof.Trace,
		} {
			profiles["GET /debug/pprof/"+path] = h
		}
	}
	admin.routes = append(admin.routes, profiles)
	for _, p := range s.parts {
		public.routes = append(public.routes, p.Routes)
		admin.routes = append(admin.routes, p.AdminRoutes)
	}
	if s.cfg.AdminAddr == "" {
		public.watched, public.routes = admin.watched, append(public.routes, admin.routes...)
	}
	return public, admin
}

// handler makes the handler of a listener.
func (s *service) handler(f front) (handler http.Handler, err error) {
	defer func() { // ServeMux panics on conflicting patterns, which are the caller's fault
		if p := recover(); p != nil {
			err = fmt.Errorf("starting %s: adding routes: %v", s.name, p)
		}
	}()
	open, mux := http.NewServeMux(), http.NewServeMux()
	probe := func(pattern string, h http.Handler) {
		mux.Handle(pattern, h) // refuses a part's route to the same path
		open.Handle(pattern, h)
		open.HandleFunc(strings.TrimPrefix(pattern, "GET "), onlyGet)
	}
	for pattern, h := range f.open {
		probe(pattern, h)
	}
	for pattern, h := range f.watched {
		probe(pattern, f.guard(h))
	}
	for _, routes := range f.routes {
		for pattern, h := range routes {
			mux.Handle(pattern, h)
		}
	}
	open.Handle("/", s.refuseSpare(f.guard(mux)))
	return bounded(open), nil
}

// guards joins the guards of the parts.
func guards(parts []Part, of func(Part) func(http.Handler) http.Handler) func(http.Handler) http.Handler {
	return func(h http.Handler) http.Handler {
		for _, p := range slices.Backward(parts) {
			if guard := of(p); guard != nil {
				h = guard(h)
			}
		}
		return h
	}
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
	PID       int    `json:"pid"`
	HTTPAddr  string `json:"http_addr"`
	AdminAddr string `json:"admin_addr,omitempty"`
}

// writeState writes the state file in one step and returns what removes it.
func writeState(path, addr, admin string) (remove func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	body, err := json.Marshal(state{PID: os.Getpid(), HTTPAddr: addr, AdminAddr: admin})
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

package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/shared/telemetry"
)

// readyInterval is how often Run asks whether all parts are ready, until they are for the first time.
const readyInterval = 50 * time.Millisecond

// ErrDrain is returned when parts were still at work at the end of the drain timeout.
var ErrDrain = errors.New("work in hand was not finished within the drain timeout")

// Part is something that a service runs for as long as it lives.
type Part struct {
	// Name of the part, in readiness answers and errors.
	Name string
	// Run blocks until ctx ends, finishes its work in hand, and returns. Returning earlier, with an
	// error or without, stops the service. nil for a part that only has routes.
	Run func(ctx context.Context) error
	// Ready returns nil when the part can work, else the reason why not; nil means always. It is called
	// often and must be quick.
	Ready func() error
	// Degraded returns what works worse than it should although the part can work, with what that means; nil means nothing does. It is called
	// often and must be quick.
	Degraded func() error
	// Routes are served beside the service's own: patterns of http.ServeMux.
	Routes map[string]http.Handler
	// Guard, when set, stands before every route of the service but health and readiness, which probes call by addresses that
	// the service does not know. The guards of several parts are passed in the order of the parts.
	Guard func(http.Handler) http.Handler
	// AdminRoutes are served on AdminAddr, where metrics are, and AdminGuard stands before metrics and them. Where the service has no AdminAddr they
	// are routes like others.
	AdminRoutes map[string]http.Handler
	AdminGuard  func(http.Handler) http.Handler
}

// Run serves HTTP and runs the parts until ctx ends or a part stops. Parts start in the order given.
// To stop, the service first becomes not ready, then stops the parts in reverse order, one after another, all within
// cfg.DrainTimeout; HTTP ends last. The error joins the parts' errors, and ErrDrain if some parts were still at work.
func Run(ctx context.Context, cfg Common, name, version string, tel *telemetry.Telemetry, log *slog.Logger, parts ...Part) error {
	if tel == nil || log == nil {
		return fmt.Errorf("starting %s: telemetry and log are needed", name)
	}
	s := &service{name: name, version: version, cfg: cfg, log: log, parts: parts}
	public, admin := s.fronts(tel)
	web, addr, err := s.listen(ctx, cfg.HTTPAddr, public)
	if err != nil {
		return err
	}
	adminAddr := ""
	if cfg.AdminAddr != "" {
		var second func(context.Context) error
		if second, adminAddr, err = s.listen(ctx, cfg.AdminAddr, admin); err != nil {
			return errors.Join(err, unserved(ctx, web))
		}
		web = both(web, second)
	}
	remove, err := writeState(cfg.StateFile, addr, adminAddr)
	if err != nil {
		return errors.Join(fmt.Errorf("starting %s: %w", name, err), unserved(ctx, web))
	}
	defer remove()
	return s.run(ctx, addr, adminAddr, Part{Name: "http", Run: web})
}

// listen listens at addr and returns what serves the listener, and its address.
func (s *service) listen(ctx context.Context, addr string, f front) (run func(context.Context) error, at string, err error) {
	handler, err := s.handler(f)
	if err != nil {
		return nil, "", err
	}
	listener, err := new(net.ListenConfig).Listen(context.WithoutCancel(ctx), "tcp", addr)
	if err != nil {
		return nil, "", fmt.Errorf("starting %s: %w", s.name, err)
	}
	return serve(newGate(listener, s.cfg, s.log), handler, s.log), listener.Addr().String(), nil
}

// unserved closes listeners that nobody will serve: what serves them ends with ctx.
func unserved(ctx context.Context, run func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	cancel()
	return run(ctx)
}

// both runs two servers until ctx ends or one of them does.
func both(a, b func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		g, ctx := errgroup.WithContext(ctx)
		for _, run := range []func(context.Context) error{a, b} {
			g.Go(func() error { return run(ctx) })
		}
		return g.Wait()
	}
}

// RunParts runs the parts as Run does, without HTTP: their readiness and routes are the caller's.
func RunParts(ctx context.Context, cfg Common, name string, log *slog.Logger, parts ...Part) error {
	s := &service{name: name, cfg: cfg, log: log, parts: parts}
	return s.run(ctx, "", "", Part{Name: "http", Run: func(ctx context.Context) error {
		<-ctx.Done()
		return nil
	}})
}

type service struct {
	name, version string
	cfg           Common
	log           *slog.Logger
	parts         []Part
	stopping      atomic.Bool
}

// running is a started part.
type running struct {
	name   string
	cancel context.CancelFunc
	done   chan struct{}
	err    error // valid once done is closed
}

// run starts the part that serves HTTP at addr first and stops it last.
func (s *service) run(ctx context.Context, addr, admin string, http Part) error {
	// Parts and requests must outlive ctx: they are stopped one by one.
	base := context.WithoutCancel(ctx)
	ended := make(chan string, len(s.parts)+1)
	web := s.start(base, http, ended)
	started := make([]*running, 0, len(s.parts))
	for _, p := range s.parts {
		if p.Run != nil {
			started = append(started, s.start(base, p, ended))
		}
	}
	watch, stopWatch := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		s.announce(watch, addr, admin)
	}()

	early := ""
	select {
	case <-ctx.Done():
	case early = <-ended:
	}
	s.stopping.Store(true)
	stopWatch()
	<-watched
	s.log.Info("stopping", "service", s.name)
	return s.stop(append([]*running{web}, started...), early)
}

func (s *service) start(ctx context.Context, p Part, ended chan<- string) *running {
	ctx, cancel := context.WithCancel(ctx)
	r := &running{name: p.Name, cancel: cancel, done: make(chan struct{})}
	go func() {
		r.err = p.Run(ctx)
		close(r.done)
		ended <- p.Name
	}()
	return r
}

// stop ends the parts in reverse order. early names the part that ended by itself, if one did.
func (s *service) stop(started []*running, early string) error {
	deadline := time.NewTimer(s.cfg.DrainTimeout)
	defer deadline.Stop()
	var faults []error
	for i := len(started) - 1; i >= 0; i-- {
		r := started[i]
		r.cancel()
		select {
		case <-r.done:
			faults = append(faults, r.fault(r.name == early))
		case <-deadline.C:
			for _, rest := range started[:i] {
				rest.cancel()
			}
			return errors.Join(append(faults, fmt.Errorf("stopping %s: part %s: %w", s.name, r.name, ErrDrain))...)
		}
	}
	return errors.Join(faults...)
}

// fault is what a finished part has to report.
func (r *running) fault(early bool) error {
	switch {
	case errors.Is(r.err, context.Canceled) && !early:
		return nil
	case r.err != nil:
		return fmt.Errorf("running %s: %w", r.name, r.err)
	case early:
		return fmt.Errorf("running %s: ended by itself", r.name)
	}
	return nil
}

// announce logs the ready line once all parts are ready.
func (s *service) announce(ctx context.Context, addr, admin string) {
	log := s.log.With("service", s.name, "version", s.version, "addr", addr)
	if admin != "" {
		log = log.With("admin_addr", admin)
	}
	tick := time.NewTicker(readyInterval)
	defer tick.Stop()
	for {
		if _, ready, _ := s.readiness(); ready {
			log.Info("ready")
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// readiness returns, for each part, "ok", why it is not ready, or what works worse than it should.
func (s *service) readiness() (parts map[string]string, ready, degraded bool) {
	parts, ready = make(map[string]string, len(s.parts)), true
	for _, p := range s.parts {
		parts[p.Name] = "ok"
		if p.Ready != nil {
			if err := p.Ready(); err != nil {
				parts[p.Name], ready = err.Error(), false
				continue
			}
		}
		if p.Degraded != nil {
			if err := p.Degraded(); err != nil {
				parts[p.Name], degraded = "degraded: "+err.Error(), true
			}
		}
	}
	return parts, ready, degraded
}

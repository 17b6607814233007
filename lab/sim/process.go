//go:build synctests

package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/larkstream/larkstream/shared/cache"
	"github.com/larkstream/larkstream/shared/host"
	"github.com/larkstream/larkstream/shared/service"
)

// errKilled is what a killed process meets wherever it turns: it must not have an effect on anything any more.
var errKilled = errors.New("the process is dead")

// tooMany deaths are more than the faults of a seed explain.
const tooMany = 150

// slot is a place where a service runs: one process at a time, started again when it dies.
type slot struct {
	w     *world
	name  string
	stage string
	run   func(ctx context.Context, on host.Host) error

	mu      sync.Mutex
	current *process
	starts  int
	clock   atomic.Int64 // by how much the clock of its machine is wrong
	paused  bool         // no process for the time being
	quit    chan struct{}
	wake    chan struct{}
}

// process is one run of a service.
type process struct {
	slot   *slot
	name   string // with the number of the run
	random func() uint64
	cancel context.CancelFunc
	gone   chan struct{} // closed when it is killed
	done   chan struct{} // closed when nothing of it runs any more
	once   sync.Once
	dead   atomic.Bool
	wakes  atomic.Int64 // when it goes on if it hangs, from the start of the simulation
	api    atomic.Pointer[http.Handler]

	mu    sync.Mutex
	conns map[net.Conn]bool
}

func newSlot(w *world, name, stage string, run func(context.Context, host.Host) error) *slot {
	return &slot{w: w, name: name, stage: stage, run: run, quit: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// supervise runs process after process until the slot ends.
func (s *slot) supervise() {
	rest(context.Background(), s.w.faults.between(time.Millisecond, 400*time.Millisecond, "start", s.name))
	for {
		p := s.start()
		if p == nil {
			select {
			case <-s.wake:
				continue
			case <-s.quit:
				return
			}
		}
		select {
		case <-p.gone:
		case <-p.done:
		case <-s.quit:
			p.cancel()
			<-p.done
			return
		}
		rest(context.Background(), s.w.faults.between(200*time.Millisecond, 3*time.Second, "restart", p.name))
	}
}

// start starts the next process; nil while the slot is paused.
func (s *slot) start() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.paused {
		return nil
	}
	s.starts++
	ctx, cancel := context.WithCancel(context.Background())
	p := &process{
		slot: s, name: fmt.Sprintf("%s.%d", s.name, s.starts), cancel: cancel, gone: make(chan struct{}), done: make(chan struct{}),
		conns: make(map[net.Conn]bool),
	}
	p.random = s.w.faults.stream("jitter", p.name)
	s.current = p
	p.note(started, "", "", "")
	s.w.wait.Go(func() {
		defer close(p.done)
		err := s.run(ctx, p.host())
		detail := ""
		if err != nil {
			detail = err.Error()
		}
		p.note(stopped, "", "", detail)
	})
	return p
}

// process is what runs in the slot; nil if nothing does.
func (s *slot) process() *process {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil || s.current.dead.Load() {
		return nil
	}
	return s.current
}

// pause stops the process in good order and starts no other until resume.
func (s *slot) pause() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.paused = true
	if s.current != nil {
		s.current.cancel()
	}
}

func (s *slot) resume() {
	s.mu.Lock()
	s.paused = false
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// kill takes the process away as kill -9 does: from now on nothing that it does has an effect. Its goroutines cannot be killed; they
// find every connection closed and end.
func (p *process) kill(why string) {
	p.once.Do(func() {
		p.note(died, why, "", "")
		if p.slot.w.deaths.Add(1) == tooMany {
			p.slot.w.giveUp()
		}
		p.dead.Store(true)
		p.mu.Lock()
		for c := range p.conns {
			_ = c.Close() // the other side shall see it, nobody else
		}
		p.mu.Unlock()
		p.cancel()
		close(p.gone)
	})
}

// strike is a fault that may kill the process; true if it has.
func (p *process) strike(kind, what string, attempt int) bool {
	if p.dead.Load() || !p.slot.w.faults.strike(kind, what, attempt) {
		return p.dead.Load()
	}
	p.kill(kind + " " + what)
	return true
}

// hang stops the process for d: nothing that comes in reaches it and nothing of it goes out, as when its machine stands still.
func (p *process) hang(d time.Duration) {
	p.wakes.Store(int64(time.Since(p.slot.w.history.start) + d))
}

// awake waits while the process hangs.
func (p *process) awake() {
	if d := time.Duration(p.wakes.Load()) - time.Since(p.slot.w.history.start); d > 0 {
		<-time.After(d)
	}
}

// now is the time of day by the clock of the machine.
func (p *process) now() time.Time { return time.Now().Add(time.Duration(p.slot.clock.Load())) }

// note adds to the history, unless the process is dead.
func (p *process) note(what, id, job, detail string) {
	if !p.dead.Load() {
		p.slot.w.history.add(entry{who: p.name, what: what, id: id, job: job, detail: detail})
	}
}

// host is what the process runs on.
func (p *process) host() host.Host {
	w := p.slot.w
	on := host.Host{
		Log: w.log.With(slog.String("process", p.name)), ClientID: p.name, Dial: p.dial, Objects: w.objects.Intercept(p.object), Random: p.random, Now: p.now, Outside: p.outside(), NewID: w.newID,
		Wrap: p.producer, Handler: p.handler, Database: p.database, Serve: p.serve,
	}
	if w.redis != nil {
		on.Hot = cache.NewBlob(w.redis.Intercept(p.redis), cache.F16)
	}
	return on
}

func (p *process) dial(ctx context.Context, network, addr string) (net.Conn, error) {
	if p.dead.Load() {
		return nil, errKilled
	}
	conn, err := p.slot.w.broker.Dial(ctx, network, addr)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.dead.Load() {
		return nil, errors.Join(errKilled, conn.Close())
	}
	p.conns[conn] = true
	return &line{conn, p}, nil
}

// line is a connection to Kafka, over which nothing goes while the process hangs.
type line struct {
	net.Conn
	p *process
}

func (l *line) Read(b []byte) (int, error) {
	n, err := l.Conn.Read(b)
	l.p.awake()
	return n, err
}

func (l *line) Write(b []byte) (int, error) {
	l.p.awake()
	return l.Conn.Write(b)
}

// cut closes the connections that are open.
func (p *process) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close() // the fault itself
	}
	clear(p.conns)
}

func (p *process) serve(ctx context.Context, cfg service.Common, log *slog.Logger, parts ...service.Part) error {
	for _, part := range parts {
		if h := part.Routes["/"]; h != nil {
			p.api.Store(&h)
		}
	}
	return service.RunParts(ctx, cfg, p.name, log, parts...)
}

// rest waits for d; false when ctx ends first.
func rest(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

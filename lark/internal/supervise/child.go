// Package supervise keeps child processes running: it starts them, asks whether they are ready, starts them again when
// they die, and stops them in good order.
package supervise

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// ErrStopped is returned by WaitReady when the child was stopped.
var ErrStopped = errors.New("child was stopped")

// Config holds the times of a child's life. Zero fields take the defaults.
type Config struct {
	// MinBackoff and MaxBackoff bound the pause before a restart; it doubles with every death (200 ms, 15 s).
	MinBackoff, MaxBackoff time.Duration
	// Healthy is how long a child must have lived for the pause to start at MinBackoff again (30 s).
	Healthy time.Duration
	// Poll is the time between two readiness probes (25 ms).
	Poll time.Duration
	// StopTimeout is how long a child may take to end after SIGTERM before it is killed (30 s).
	StopTimeout time.Duration
	// Tries is how often a child that never was ready may die before WaitReady gives up (5).
	Tries int
}

func (c Config) withDefaults() Config {
	set := func(d *time.Duration, v time.Duration) {
		if *d <= 0 {
			*d = v
		}
	}
	set(&c.MinBackoff, 200*time.Millisecond)
	set(&c.MaxBackoff, 15*time.Second)
	set(&c.Healthy, 30*time.Second)
	set(&c.Poll, 25*time.Millisecond)
	set(&c.StopTimeout, 30*time.Second)
	if c.Tries <= 0 {
		c.Tries = 5
	}
	return c
}

// Spec says what to run.
type Spec struct {
	Name string
	// Command gives a fresh command for every start. Its standard streams belong to the supervisor: standard input is a
	// pipe that stays open as long as the parent lives, so that a child can notice its parent's death.
	Command func() (*exec.Cmd, error)
	// Ready is asked after every start until it gives nil.
	Ready func(ctx context.Context) error
	// Output takes what the child prints, a whole line per write.
	Output io.Writer
	// Started is told the process id after every start. Optional.
	Started func(pid int) error
}

// Child is one supervised process.
type Child struct {
	cfg  Config
	spec Spec
	log  *slog.Logger
	tail *tail

	stop context.CancelFunc
	done chan struct{}

	mu       sync.Mutex
	ready    bool
	changed  chan struct{} // closed and replaced at every change of state
	everUp   bool
	early    int // deaths before the child was ever ready
	lastExit error
	// lastLines are the last lines of the try that ended with lastExit.
	lastLines string
	proc      *os.Process
	restarts  int
}

// Status is a child's state at one moment.
type Status struct {
	PID, Restarts int
	Ready         bool
}

// Start runs the child in the background until Stop.
func Start(cfg Config, spec Spec, log *slog.Logger) *Child {
	ctx, stop := context.WithCancel(context.Background())
	c := &Child{
		cfg: cfg.withDefaults(), spec: spec, log: log.With("child", spec.Name), tail: newTail(20),
		stop: stop, done: make(chan struct{}), changed: make(chan struct{}),
	}
	go c.loop(ctx)
	return c
}

// Stop ends the child (SIGTERM, then SIGKILL after StopTimeout or when ctx ends) and waits for it. It may be called
// more than once.
func (c *Child) Stop(ctx context.Context) {
	c.stop()
	select {
	case <-c.done:
	case <-ctx.Done():
		c.signal(syscall.SIGKILL)
		<-c.done
	}
}

// Status tells the child's state now.
func (c *Child) Status() Status {
	c.mu.Lock()
	defer c.mu.Unlock()
	s := Status{Restarts: c.restarts, Ready: c.ready}
	if c.proc != nil {
		s.PID = c.proc.Pid
	}
	return s
}

// WaitReady returns nil once the child is ready. It gives up when ctx ends, when the child is stopped, and when a child
// that never was ready has died Config.Tries times; that error carries the child's last lines.
func (c *Child) WaitReady(ctx context.Context) error {
	for {
		c.mu.Lock()
		ready, changed, hopeless, exit, lines := c.ready, c.changed, !c.everUp && c.early >= c.cfg.Tries, c.lastExit, c.lastLines
		c.mu.Unlock()
		switch {
		case ready:
			return nil
		case hopeless:
			return fmt.Errorf("starting %s: %w%s", c.spec.Name, exit, lines)
		}
		select {
		case <-changed:
		case <-c.done:
			return fmt.Errorf("starting %s: %w", c.spec.Name, ErrStopped)
		case <-ctx.Done():
			return fmt.Errorf("starting %s: %w%s", c.spec.Name, context.Cause(ctx), c.tail.text())
		}
	}
}

func (c *Child) loop(ctx context.Context) {
	defer close(c.done)
	// Linux sends the parent-death signal when the *thread* that started the child ends. Go ends a thread only with a
	// goroutine locked to it: keep this one for as long as its children live.
	runtime.LockOSThread()
	pause := c.cfg.MinBackoff
	for {
		began := time.Now()
		err := c.once(ctx)
		if ctx.Err() != nil {
			return
		}
		if time.Since(began) >= c.cfg.Healthy {
			pause = c.cfg.MinBackoff
		}
		wait := pause/2 + rand.N(pause/2+1) //nolint:gosec // jitter needs no secret
		c.log.Warn("child died, starting it again", "exit", err, "after", time.Since(began).Round(time.Millisecond), "pause", wait.Round(time.Millisecond))
		pause = min(2*pause, c.cfg.MaxBackoff)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// once runs the process to its end.
func (c *Child) once(ctx context.Context) error {
	cmd, err := c.launch()
	if err != nil {
		c.died(err, false)
		return err
	}
	life, over := context.WithCancel(context.WithoutCancel(ctx))
	var watchers sync.WaitGroup
	watchers.Go(func() { c.probe(life) })
	watchers.Go(func() {
		select {
		case <-life.Done():
		case <-ctx.Done():
			c.terminate(life)
		}
	})
	err = cmd.Wait()
	over()
	watchers.Wait()
	if err == nil {
		err = errors.New("exited with status 0")
	}
	c.died(err, ctx.Err() != nil)
	return err
}

func (c *Child) launch() (*exec.Cmd, error) {
	cmd, err := c.spec.Command()
	if err != nil {
		return nil, err
	}
	c.tail.clear()
	lines := &lineWriter{to: io.MultiWriter(c.spec.Output, c.tail)}
	cmd.Stdout, cmd.Stderr = lines, lines
	cmd.SysProcAttr = childAttr()
	// A grandchild (ffmpeg) that holds the pipes must not keep Wait from returning.
	cmd.WaitDelay = 2 * time.Second
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, fmt.Errorf("opening its standard input: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting process: %w", err)
	}
	c.update(func() { c.proc = cmd.Process })
	if c.spec.Started != nil {
		if err := c.spec.Started(cmd.Process.Pid); err != nil {
			c.log.Warn("recording the child", "error", err)
		}
	}
	return cmd, nil
}

// probe asks for readiness until it is given or the process is over.
func (c *Child) probe(life context.Context) {
	tick := time.NewTicker(c.cfg.Poll)
	defer tick.Stop()
	for {
		if c.spec.Ready(life) == nil && life.Err() == nil {
			c.update(func() { c.ready, c.everUp = true, true })
			return
		}
		select {
		case <-tick.C:
		case <-life.Done():
			return
		}
	}
}

func (c *Child) terminate(life context.Context) {
	c.signal(syscall.SIGTERM)
	select {
	case <-life.Done():
	case <-time.After(c.cfg.StopTimeout):
		c.log.Warn("child did not stop in time, killing it", "timeout", c.cfg.StopTimeout)
		c.signal(syscall.SIGKILL)
	}
}

func (c *Child) signal(sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.proc != nil {
		_ = c.proc.Signal(sig) // it may have ended on its own
	}
}

// died notes the end of a process. An end that Stop has asked for says nothing of why the child could not start before.
func (c *Child) died(err error, asked bool) {
	lines := c.tail.text() // the next try clears them
	c.update(func() {
		c.ready, c.proc = false, nil
		if !asked {
			c.lastExit, c.lastLines = err, lines
		}
		c.restarts++
		if !c.everUp {
			c.early++
		}
	})
}

func (c *Child) update(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
	close(c.changed)
	c.changed = make(chan struct{})
}

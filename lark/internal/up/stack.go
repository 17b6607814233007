package up

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/larkstream/larkstream/lark/internal/supervise"
	"github.com/larkstream/larkstream/shared/event"
)

// Stage names, in the order in which they start; they stop the other way round.
const (
	Broker    = "broker"
	Chunker   = event.StageChunker
	Encoder   = event.StageEncoder
	Projector = event.StageProjector
	LLM       = event.StageLLM
	Gateway   = "gateway"
)

// Stages lists every process of a whole installation.
func Stages() []string { return []string{Broker, Chunker, Encoder, Projector, LLM, Gateway} }

// Config says what to run and where.
type Config struct {
	// Data is the data folder.
	Data Folder
	// Targets are the stages to run; empty = all of them.
	Targets []string
	// Addr is the gateway's address; port 0 = any free one.
	Addr string
	// ModelDir is the model bundle; empty = searched for, see FindModel.
	ModelDir string
	// Env is the environment from which the children's is made. KAFKA_BROKERS, REDIS_URL, BLOB_URL, DATABASE_URL and
	// OTEL_EXPORTER_OTLP_ENDPOINT in it take the place of what the data folder offers.
	Env []string
	// Executable is the lark binary that serves the stages.
	Executable string
	// Drain is how long a stage may take to finish what it has in hand; 0 = the stage's own default. Supervise.StopTimeout
	// should be longer.
	Drain time.Duration
	// Supervise holds the children's times.
	Supervise supervise.Config
}

// Deps are what the stack needs from its caller.
type Deps struct {
	Log *slog.Logger
	// Output takes the children's lines, prefixed with the stage; nil = only the log files do.
	Output io.Writer
}

// logLimit bounds a stage's log file; one older generation of the same size is kept.
const logLimit = 8 << 20

// Stack is a running installation.
type Stack struct {
	cfg      Config
	deps     Deps
	lock     *lock
	ports    *ports
	outMu    sync.Mutex
	logs     []io.Closer
	children map[string]*supervise.Child
	stopOnce sync.Once
}

// Start takes the data folder, starts the stages and returns once all of them are ready. If that fails, or ctx ends
// first, everything has been stopped again.
func Start(ctx context.Context, cfg Config, deps Deps) (_ *Stack, err error) {
	if deps.Log == nil {
		return nil, errors.New("starting larkstream: no logger")
	}
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	hold, err := cfg.Data.lock()
	if err != nil {
		return nil, err
	}
	s := &Stack{cfg: cfg, deps: deps, lock: hold, ports: newPorts(cfg.Data), children: map[string]*supervise.Child{}}
	defer func() {
		if err != nil {
			s.Stop(context.WithoutCancel(ctx))
		}
	}()
	holder := Holder{PID: os.Getpid(), Started: time.Now().Truncate(time.Second)}
	if hold.crashed {
		s.ports.waitFree(ctx, cfg.Targets)
	}
	if err := hold.note(holder); err != nil {
		return nil, err
	}
	if err := s.startAll(ctx); err != nil {
		return nil, err
	}
	holder.Gateway = s.GatewayURL()
	return s, hold.note(holder)
}

// complete fills in the defaults and refuses what cannot work.
func (c *Config) complete() error {
	if len(c.Targets) == 0 {
		c.Targets = Stages()
		if getenv(c.Env, "KAFKA_BROKERS") != "" {
			c.Targets = c.Targets[1:]
		}
	}
	for _, t := range c.Targets {
		if !slices.Contains(Stages(), t) {
			return fmt.Errorf("reading targets: no stage %q; there are %v", t, Stages())
		}
	}
	if !slices.Contains(c.Targets, Broker) && getenv(c.Env, "KAFKA_BROKERS") == "" {
		return errors.New("reading targets: without the broker among them, KAFKA_BROKERS must name one")
	}
	if c.Executable == "" {
		exe, err := os.Executable()
		if err != nil {
			return fmt.Errorf("finding own binary: %w", err)
		}
		c.Executable = exe
	}
	if !slices.ContainsFunc(c.Targets, needsModel) {
		return nil
	}
	dir, err := FindModel(c.ModelDir, c.Data)
	c.ModelDir = dir
	return err
}

func needsModel(stage string) bool { return stage != Broker }

func (s *Stack) startAll(ctx context.Context) error {
	if slices.Contains(s.cfg.Targets, Gateway) {
		if err := s.ports.fix(Gateway, s.cfg.Addr, getenv(s.cfg.Env, envAdminAddr)); err != nil {
			return fmt.Errorf("taking the gateway's address: %w; name another with --addr", err)
		}
	}
	if slices.Contains(s.cfg.Targets, Broker) {
		if err := s.start(Broker); err != nil { //nolint:contextcheck // a child lives until Stop
			return err
		}
		if err := s.children[Broker].WaitReady(ctx); err != nil {
			return err
		}
	}
	for _, stage := range s.cfg.Targets {
		if stage == Broker {
			continue
		}
		if err := s.start(stage); err != nil { //nolint:contextcheck // a child lives until Stop
			return err
		}
	}
	wait, ctx := errgroup.WithContext(ctx)
	for _, child := range s.children {
		wait.Go(func() error { return child.WaitReady(ctx) })
	}
	return wait.Wait()
}

func (s *Stack) start(stage string) error {
	file, err := supervise.OpenLog(s.cfg.Data.LogPath(stage), logLimit)
	if err != nil {
		return err
	}
	s.logs = append(s.logs, file)
	var out io.Writer = file
	if s.deps.Output != nil {
		out = io.MultiWriter(file, supervise.Prefixed(s.deps.Output, fmt.Sprintf("%-9s | ", stage), &s.outMu))
	}
	s.children[stage] = supervise.Start(s.cfg.Supervise, supervise.Spec{
		Name: stage, Output: out,
		Command: func() (*exec.Cmd, error) { return s.command(stage) },
		Ready:   func(ctx context.Context) error { return readyAt(ctx, s.ports.place(stage).HTTPAddr) },
		Started: func(pid int) error { return s.ports.record(stage, pid) },
	}, s.deps.Log)
	return nil
}

// command makes the child's command line; its addresses are chosen anew when the old ones have been taken.
func (s *Stack) command(stage string) (*exec.Cmd, error) {
	if err := s.ports.choose(stage); err != nil {
		return nil, err
	}
	cmd := exec.Command(s.cfg.Executable, "serve", "--attached", stage) //nolint:noctx // the supervisor ends it, in good order
	cmd.Env = s.env(stage)
	return cmd, nil
}

// Stop ends the stages in order: the gateway stops taking jobs in, the stages finish what they have in hand, the broker
// goes last. When ctx ends, what still runs is killed. It may be called more than once.
func (s *Stack) Stop(ctx context.Context) {
	s.stopOnce.Do(func() {
		s.stop(ctx, Gateway)
		s.stop(ctx, Chunker, Encoder, Projector, LLM)
		s.stop(ctx, Broker)
		for _, l := range s.logs {
			_ = l.Close()
		}
		s.lock.release()
	})
}

func (s *Stack) stop(ctx context.Context, stages ...string) {
	var wait sync.WaitGroup
	for _, stage := range stages {
		if child, ok := s.children[stage]; ok {
			wait.Go(func() { child.Stop(ctx) })
		}
	}
	wait.Wait()
}

// GatewayURL is where the gateway answers; empty if it is not among the targets.
func (s *Stack) GatewayURL() string {
	if _, ok := s.children[Gateway]; !ok {
		return ""
	}
	return "http://" + callable(s.ports.place(Gateway).HTTPAddr)
}

// GatewayAdminURL is where the gateway shows metrics and traces.
func (s *Stack) GatewayAdminURL() string {
	return "http://" + callable(s.ports.place(Gateway).AdminAddr)
}

// Place tells where a stage listens.
func (s *Stack) Place(stage string) Place { return s.ports.place(stage) }

// Status tells how a stage is; the zero value if it is not run here.
func (s *Stack) Status(stage string) supervise.Status {
	child, ok := s.children[stage]
	if !ok {
		return supervise.Status{}
	}
	return child.Status()
}

// Processes gives the process id of every running stage, by its name.
func (s *Stack) Processes() map[string]int {
	pids := map[string]int{}
	for _, stage := range s.Running() {
		pids[stage] = s.Status(stage).PID
	}
	return pids
}

// Running lists the stages run here.
func (s *Stack) Running() []string {
	return slices.DeleteFunc(Stages(), func(stage string) bool { _, ok := s.children[stage]; return !ok })
}

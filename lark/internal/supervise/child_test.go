package supervise

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// The test binary is its own child: LARK_TEST_CHILD says how it behaves.
func TestMain(m *testing.M) {
	switch os.Getenv("LARK_TEST_CHILD") {
	case "":
		goleak.VerifyTestMain(m)
	case "fail":
		say("no model here")
		os.Exit(3) //nolint:forbidigo // the end of a child process
	case "polite":
		ch := make(chan os.Signal, 1)
		signal.Notify(ch, syscall.SIGTERM)
		say("up")
		<-ch
		say("bye")
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		say("up")
		select {}
	case "parent":
		runAsParent()
	case "orphan": // ends only when its standard input does; SIGTERM alone would not end it
		signal.Ignore(syscall.SIGTERM)
		say("orphan", os.Getpid())
		_, _ = io.Copy(io.Discard, os.Stdin)
	}
}

func say(what ...any) { _, _ = fmt.Fprintln(os.Stdout, what...) }

// runAsParent supervises one child that ignores SIGTERM, and says its process id.
func runAsParent() {
	Start(Config{}, Spec{
		Name: "orphan", Command: childCommand("orphan"), Output: os.Stdout,
		Ready: func(context.Context) error { return errors.New("never") },
	}, slog.New(slog.DiscardHandler))
	select {}
}

func childCommand(mode string) func() (*exec.Cmd, error) {
	return func() (*exec.Cmd, error) {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "LARK_TEST_CHILD="+mode)
		return cmd, nil
	}
}

// record collects a child's output and can be asked whether a word was said.
type record struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (r *record) Write(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.Write(p)
}

func (r *record) String() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.buf.String()
}

func (r *record) said(word string) func(context.Context) error {
	return func(context.Context) error {
		if strings.Contains(r.String(), word) {
			return nil
		}
		return errors.New("not yet")
	}
}

func quick() Config {
	return Config{MinBackoff: time.Millisecond, MaxBackoff: 4 * time.Millisecond, Poll: time.Millisecond, StopTimeout: 20 * time.Second}
}

func start(t *testing.T, cfg Config, mode string) (*Child, *record) {
	t.Helper()
	out := &record{}
	c := Start(cfg, Spec{Name: mode, Command: childCommand(mode), Output: out, Ready: out.said("up")}, slog.New(slog.DiscardHandler))
	t.Cleanup(func() { c.Stop(context.WithoutCancel(t.Context())) })
	return c, out
}

func TestChildStopsPolitely(t *testing.T) {
	t.Parallel()
	c, out := start(t, quick(), "polite")
	require.NoError(t, c.WaitReady(t.Context()))
	require.NotZero(t, c.Status().PID)
	c.Stop(t.Context())
	c.Stop(t.Context())
	require.Contains(t, out.String(), "bye")
	require.Zero(t, c.Status().PID)
	require.ErrorIs(t, c.WaitReady(t.Context()), ErrStopped)
}

func TestChildIsStartedAgainWhenKilled(t *testing.T) {
	t.Parallel()
	c, _ := start(t, quick(), "polite")
	for round := range 3 {
		require.NoError(t, c.WaitReady(t.Context()))
		before := c.Status()
		require.Equal(t, round, before.Restarts)
		require.NoError(t, syscall.Kill(before.PID, syscall.SIGKILL))
		require.Eventually(t, func() bool {
			now := c.Status()
			return now.Restarts == round+1 && now.PID != 0 && now.PID != before.PID
		}, 20*time.Second, time.Millisecond)
	}
}

func TestStubbornChildIsKilled(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.StopTimeout = time.Millisecond
	c, _ := start(t, cfg, "stubborn")
	require.NoError(t, c.WaitReady(t.Context()))
	pid := c.Status().PID
	c.Stop(t.Context())
	require.ErrorIs(t, syscall.Kill(pid, 0), syscall.ESRCH)
}

func TestStopKillsWhenItsContextEnds(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.StopTimeout = time.Hour
	c, _ := start(t, cfg, "stubborn")
	require.NoError(t, c.WaitReady(t.Context()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c.Stop(ctx)
	require.Zero(t, c.Status().PID)
}

func TestHopelessChildIsReportedWithItsLastLines(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.Tries = 2
	c, _ := start(t, cfg, "fail")
	err := c.WaitReady(t.Context())
	require.ErrorContains(t, err, "starting fail: exit status 3")
	require.ErrorContains(t, err, "no model here")
	require.GreaterOrEqual(t, c.Status().Restarts, 2)
}

// The next try, which clears the lines that are being collected, may begin before the waiter has looked, and Stop may end it.
func TestLastLinesOutliveTheNextTry(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.Tries = 1
	c, _ := start(t, cfg, "fail")
	require.Error(t, c.WaitReady(t.Context()))
	c.Stop(t.Context())
	c.tail.clear()
	require.ErrorContains(t, c.WaitReady(t.Context()), "no model here")
}

func TestCommandThatCannotStart(t *testing.T) {
	t.Parallel()
	cfg := quick()
	cfg.Tries = 1
	c := Start(cfg, Spec{
		Name: "ghost", Output: io.Discard,
		Command: func() (*exec.Cmd, error) { return exec.Command(t.TempDir() + "/nothing"), nil },
		Ready:   func(context.Context) error { return nil },
	}, slog.New(slog.DiscardHandler))
	defer c.Stop(t.Context())
	require.ErrorIs(t, c.WaitReady(t.Context()), os.ErrNotExist)
}

func TestWaitReadyEndsWithItsContext(t *testing.T) {
	t.Parallel()
	c, _ := start(t, quick(), "orphan")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	require.ErrorContains(t, c.WaitReady(ctx), "enough")
	ended, kill := context.WithCancel(t.Context())
	kill()
	c.Stop(ended)
}

// A supervisor killed outright takes its children with it: the parent-death signal is ignored by this child, so that it
// is the closed standard input that ends it, as on systems without such a signal.
func TestChildrenNoticeTheSupervisorsDeath(t *testing.T) {
	t.Parallel()
	cmd, err := childCommand("parent")()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var pid int
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	_, err = fmt.Sscanf(line, "orphan %d", &pid)
	require.NoError(t, err)

	require.NoError(t, cmd.Process.Kill())
	require.Error(t, cmd.Wait())
	require.Eventually(t, func() bool { return gone(pid) }, 20*time.Second, 5*time.Millisecond)
}

// gone tells whether the process has ended; a zombie has.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && strings.Contains(string(stat), ") Z ")
}

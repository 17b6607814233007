package service_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/config"
	"github.com/larkstream/larkstream/shared/service"
)

// TestMainProcess is the program that the tests below start: Main with a run that does as asked.
func TestMainProcess(t *testing.T) {
	mode := os.Getenv("LARK_MAIN_MODE")
	if mode == "" {
		t.Skip("only as a child process")
	}
	service.Main("prog", func(ctx context.Context, _ []string) error {
		switch mode {
		case "done":
			return fmt.Errorf("printing help: %w", config.ErrDone)
		case "fault":
			return errors.New("reading flags: bad")
		}
		fmt.Fprintln(os.Stdout, "running")
		<-ctx.Done()
		fmt.Fprintln(os.Stdout, "cancelled")
		if mode == "hang" {
			select {}
		}
		return nil
	})
}

func child(t *testing.T, mode string) (cmd *exec.Cmd, out *bufio.Scanner) {
	t.Helper()
	cmd = exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestMainProcess$")
	cmd.Env = append(os.Environ(), "LARK_MAIN_MODE="+mode)
	pipe, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	return cmd, bufio.NewScanner(pipe)
}

func waitFor(t *testing.T, out *bufio.Scanner, line string) {
	t.Helper()
	for out.Scan() {
		if out.Text() == line {
			return
		}
	}
	require.FailNow(t, "the child ended without a line", line)
}

func TestMainExitCodes(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string]int{"done": 0, "fault": 1} {
		cmd, _ := child(t, mode)
		_ = cmd.Wait()
		require.Equal(t, want, cmd.ProcessState.ExitCode(), mode)
	}
}

func TestMainStopsOnASignal(t *testing.T) {
	t.Parallel()
	for _, sig := range []os.Signal{syscall.SIGTERM, os.Interrupt} {
		cmd, out := child(t, "wait")
		waitFor(t, out, "running")
		require.NoError(t, cmd.Process.Signal(sig))
		waitFor(t, out, "cancelled")
		require.NoError(t, cmd.Wait(), "exit code 0")
	}
}

func TestMainEndsAtOnceOnTheSecondSignal(t *testing.T) {
	t.Parallel()
	cmd, out := child(t, "hang")
	waitFor(t, out, "running")
	require.NoError(t, cmd.Process.Signal(syscall.SIGTERM))
	waitFor(t, out, "cancelled")
	// The default handler is back a moment after the context has ended; until then signals are swallowed.
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	require.Eventually(t, func() bool {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case err := <-ended:
			return err != nil
		default:
			return false
		}
	}, 30*time.Second, 5*time.Millisecond)
	status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
	require.True(t, ok)
	require.Equal(t, syscall.SIGTERM, status.Signal())
}

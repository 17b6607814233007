package cli_test

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

// pseudoTerminal is a terminal of so many columns whose screen is read from the first file, and on which programs write to the second.
func pseudoTerminal(t *testing.T, columns uint16) (screen, stream *os.File) {
	t.Helper()
	screen, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("this system has no pseudo-terminals: %v", err)
	}
	t.Cleanup(func() { _ = screen.Close() })
	fd := int(screen.Fd())
	require.NoError(t, unix.IoctlSetPointerInt(fd, unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
	require.NoError(t, err)
	require.NoError(t, unix.IoctlSetWinsize(fd, unix.TIOCSWINSZ, &unix.Winsize{Row: 24, Col: columns}))
	stream, err = os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|unix.O_NOCTTY, 0)
	require.NoError(t, err)
	return screen, stream
}

// larkOnTerminal runs the binary with a terminal for its standard streams, to its end, and returns what was written to the terminal.
func (w *world) larkOnTerminal(t *testing.T, columns uint16, env []string, args ...string) (written string, code int) {
	t.Helper()
	screen, stream := pseudoTerminal(t, columns)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, executable, args...)
	cmd.Env, cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = append(env, w.env...), w.data, stream, stream, stream
	require.NoError(t, cmd.Start())
	require.NoError(t, stream.Close())
	text, err := io.ReadAll(screen)
	if !errors.Is(err, syscall.EIO) { // the last program has closed the terminal
		require.NoError(t, err)
	}
	_ = cmd.Wait()
	require.NoError(t, ctx.Err(), "lark %s: %s", strings.Join(args, " "), text)
	return string(text), cmd.ProcessState.ExitCode()
}

// drawn are the lines of progress that were drawn over.
func drawn(written string) (lines []string) {
	for _, part := range strings.Split(written, "\r\x1b[K")[1:] {
		line, _, _ := strings.Cut(part, "\r\n")
		lines = append(lines, line)
	}
	return lines
}

func TestTerminals(t *testing.T) {
	t.Parallel()
	w := setup(t)
	r := w.up(t)
	for _, columns := range []uint16{200, 40, 10} {
		written, code := w.larkOnTerminal(t, columns, []string{"TERM=xterm"}, "ask", w.track, "Key?")
		require.Zero(t, code, written)
		require.Contains(t, written, "chunker"[:min(7, int(columns)-4)], "progress is shown")
		lines := drawn(written)
		for _, line := range lines[:len(lines)-1] { // behind the last one stands the answer
			require.Less(t, len(line), int(columns), "a line of progress wraps: %q", written)
		}
		require.True(t, strings.HasSuffix(written, "\r\n"), written)
		require.NotRegexp(t, "\x1b\\[[0-9;]*m", written, "nothing is coloured")
	}
	written, code := w.larkOnTerminal(t, 80, []string{"TERM=dumb", "NO_COLOR=1"}, "ask", w.track, "Key?")
	require.Zero(t, code, written)
	require.NotContains(t, written, "\x1b", "a dumb terminal is not steered")

	stdout, stderr, code := w.lark(t, "ask", w.track, "Key?")
	require.Zero(t, code, stderr)
	require.NotContains(t, stdout+stderr, "\x1b")
	require.NotContains(t, stderr, "chunker", "no progress without a terminal")

	written, code = w.larkOnTerminal(t, 80, nil, "ask", "-", "Key?")
	require.Equal(t, 2, code)
	require.Contains(t, written, "which is a terminal")
	r.stop(t)
}

package confine

import (
	"bytes"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// attemptsEnv makes the test program a child that tries what is forbidden and prints what came of it, line by line.
const attemptsEnv = "LARK_TEST_CONFINED_FOLDER"

func TestMain(m *testing.M) {
	if folder := os.Getenv(attemptsEnv); folder != "" {
		attempt(os.Stdout, folder)
		return
	}
	goleak.VerifyTestMain(m)
}

// attempt tries each call with arguments that would do no harm were it allowed.
func attempt(w io.Writer, folder string) {
	call := func(number uintptr, args ...uintptr) error {
		args = append(args, 0, 0, 0, 0)
		_, _, errno := unix.RawSyscall6(number, args[0], args[1], args[2], args[3], 0, 0)
		return errnoOrNil(errno)
	}
	open := func(name string, flags int) error {
		fd, err := unix.Open(filepath.Join(folder, name), flags, 0o600)
		if err == nil {
			_ = unix.Close(fd)
		}
		return err
	}
	say := func(name string, err error) { _, _ = fmt.Fprintf(w, "%s: %v\n", name, err) }
	_, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	say("socket", err)
	say("ptrace", call(unix.SYS_PTRACE, unix.PTRACE_TRACEME))
	say("mount", unix.Mount("none", folder, "no such system", 0, ""))
	say("unshare", unix.Unshare(unix.CLONE_NEWNS))
	say("bpf", call(unix.SYS_BPF, 0xffff))
	say("io_uring_setup", call(unix.SYS_IO_URING_SETUP, 0))
	say("clone3", call(unix.SYS_CLONE3, 0))
	say("clone with a namespace of mounts", call(unix.SYS_CLONE, unix.CLONE_NEWNS|unix.CLONE_FS))
	say("unlink", unix.Unlink(filepath.Join(folder, "own")))
	say("rename", unix.Rename(filepath.Join(folder, "own"), filepath.Join(folder, "new")))
	say("create", open("new", unix.O_WRONLY|unix.O_CREAT))
	say("truncate", open("own", unix.O_WRONLY|unix.O_TRUNC))
	say("read its own file", open("own", unix.O_RDONLY))
	say("read another file", open("other", unix.O_RDONLY))
}

// attempts runs the test program under c and returns what it printed: the outcome of each attempt.
func attempts(t *testing.T, c Confinement) map[string]string {
	t.Helper()
	folder := t.TempDir()
	for _, name := range []string{"own", "other"} {
		require.NoError(t, os.WriteFile(filepath.Join(folder, name), []byte("x"), 0o600))
	}
	cmd := exec.CommandContext(t.Context(), testProgram(t))
	cmd.Env = []string{attemptsEnv + "=" + folder}
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	require.NoError(t, c.Start(cmd, filepath.Join(folder, "own")))
	require.NoError(t, cmd.Wait(), said.String())
	out := map[string]string{}
	for line := range strings.Lines(said.String()) {
		name, outcome, _ := strings.Cut(strings.TrimSpace(line), ": ")
		out[name] = outcome
	}
	return out
}

func testProgram(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	require.NoError(t, err)
	return path
}

func TestForbiddenCallsAreRefused(t *testing.T) {
	t.Parallel()
	c := Confinement{filter: filterProgram(namespaceFlags)}
	if c.filter == nil || !c.runs(t.Context(), "/bin/true") {
		t.Skip("this system has no seccomp")
	}
	refused := unix.EPERM.Error()
	require.Equal(t, map[string]string{
		"socket": refused, "ptrace": refused, "mount": refused, "unshare": refused, "bpf": refused, "io_uring_setup": refused,
		"clone3": unix.ENOSYS.Error(), "clone with a namespace of mounts": refused, "unlink": refused, "rename": refused, "create": refused, "truncate": refused,
		"read its own file": "<nil>", "read another file": "<nil>",
	}, attempts(t, c))
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	require.NoError(t, err, "the parent keeps its rights")
	require.NoError(t, unix.Close(fd))
}

func TestOtherFilesAreOutOfReach(t *testing.T) {
	t.Parallel()
	program := testProgram(t)
	c := Confinement{places: placesOf(program, namespaces())}
	if !c.runs(t.Context(), "/bin/true") {
		t.Skip("this system has no Landlock")
	}
	got := attempts(t, c)
	require.Equal(t, "<nil>", got["read its own file"])
	require.Equal(t, unix.EACCES.Error(), got["read another file"])
	require.NotEqual(t, "<nil>", got["unlink"])
	require.NotEqual(t, "<nil>", got["create"])
}

// What the system allows is applied together, and told.
func TestConfinement(t *testing.T) {
	t.Parallel()
	c := For(t.Context(), "/bin/true")
	got := attempts(t, Confinement{c.attr, c.filter, append(c.places, testProgram(t))})
	require.Equal(t, "<nil>", got["read its own file"])
	if c.filter != nil {
		require.Equal(t, unix.EPERM.Error(), got["socket"])
		require.Contains(t, c.String(), "seccomp")
	}
	none := For(t.Context(), "/bin/false")
	require.Contains(t, none.String(), "does not allow them")
	require.True(t, none.runs(t.Context(), "/bin/true"), "what cannot be applied hinders nothing")
}

package confine

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Confinement is what a child process is cut off from. The zero value cuts it off from nothing.
type Confinement struct {
	attr   *syscall.SysProcAttr
	filter []unix.SockFilter
	// places are files and folders that the program may read, nil if it may read all.
	places []string
}

// For finds out what this system allows for a program, by starting it with the argument -version.
func For(ctx context.Context, program string) Confinement {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	attr, filter := namespaces(), filterProgram(namespaceFlags)
	places := placesOf(program, attr)
	if all := (Confinement{attr, filter, places}); all.runs(ctx, program) {
		return all
	}
	var c Confinement
	for _, more := range []func(Confinement) Confinement{
		func(c Confinement) Confinement { c.filter = filter; return c },
		func(c Confinement) Confinement { c.places = places; return c },
		func(c Confinement) Confinement { c.attr = attr; return c },
	} {
		if next := more(c); next.runs(ctx, program) {
			c = next
		}
	}
	return c
}

func (c Confinement) runs(ctx context.Context, program string) bool {
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", `exec "$0" -version`, program)
	cmd.Env = []string{"LC_ALL=C", "PATH=/usr/bin:/bin"}
	return c.Start(cmd) == nil && cmd.Wait() == nil
}

// namespaceFlags are the namespaces that a child gets for itself.
const namespaceFlags = unix.CLONE_NEWNET | unix.CLONE_NEWPID | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS | unix.CLONE_NEWUSER

// namespaces asks for namespaces of network, processes, messages and host name. Root makes them directly, others inside a user namespace,
// which containers often forbid.
func namespaces() *syscall.SysProcAttr {
	attr := &syscall.SysProcAttr{Cloneflags: namespaceFlags &^ unix.CLONE_NEWUSER}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		attr.Cloneflags |= unix.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	}
	return attr
}

// placesOf are where programs and their libraries lie. The parent writes the map of a user namespace in /proc after it has given up its rights.
func placesOf(program string, attr *syscall.SysProcAttr) []string {
	places := []string{
		"/bin", "/lib", "/lib32", "/lib64", "/usr", "/opt", "/nix/store", "/etc/ld.so.cache", "/etc/localtime", "/dev/null", "/dev/urandom",
	}
	if real, err := filepath.EvalSymlinks(program); err == nil {
		places = append(places, real)
	}
	if attr.Cloneflags&unix.CLONE_NEWUSER != 0 {
		places = append(places, "/proc")
	}
	return places
}

// Start starts cmd, which may read the files named, beside its own program.
//
// Go cannot run code between fork and exec. But a child inherits the rights of the thread that starts it, and a thread can give up rights for
// itself alone. Such a thread is made here, starts the child, and ends: its goroutine never unlocks it.
func (c Confinement) Start(cmd *exec.Cmd, reads ...string) error {
	if c.attr != nil {
		attr := *c.attr
		cmd.SysProcAttr = &attr
	}
	if c.filter == nil && c.places == nil {
		return cmd.Start()
	}
	started := make(chan error, 1)
	go func() {
		runtime.LockOSThread()
		if err := c.restrict(reads); err != nil {
			started <- err
			return
		}
		started <- cmd.Start()
	}()
	return <-started
}

// restrict takes rights from the calling thread for good.
func (c Confinement) restrict(reads []string) error {
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return os.NewSyscallError("prctl", err)
	}
	if c.places != nil {
		if err := restrictFiles(slices.Concat(reads, c.places)); err != nil {
			return err
		}
	}
	if c.filter != nil {
		return restrictCalls(c.filter)
	}
	return nil
}

// String says in words what is applied.
func (c Confinement) String() string {
	var have, lack []string
	for _, layer := range []struct {
		applied     bool
		words, none string
	}{
		{c.attr != nil, "its own network, process, IPC and host name namespaces", "no namespaces"},
		{c.filter != nil, "a filter of system calls (seccomp)", "no filter of system calls (seccomp)"},
		{c.places != nil, "no files to read but its own (Landlock)", "no limits on the files it reads (Landlock)"},
	} {
		if layer.applied {
			have = append(have, layer.words)
		} else {
			lack = append(lack, layer.none)
		}
	}
	if len(lack) > 0 {
		have = append(have, strings.Join(lack, ", ")+" (this system does not allow them)")
	}
	return strings.Join(have, "; ")
}

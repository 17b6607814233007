package audio

import (
	"context"
	"os"
	"os/exec"
	"syscall"
	"time"
)

// confinement is what a child process is cut off from beyond its limits.
type confinement struct{ attr *syscall.SysProcAttr }

// confine finds out what this system allows: namespaces of its own for network, processes' messages and host name. Root makes them directly,
// others inside a user namespace, which containers often forbid.
func confine(ctx context.Context) confinement {
	attr := &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS}
	if uid, gid := os.Geteuid(), os.Getegid(); uid != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{ContainerID: uid, HostID: uid, Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{ContainerID: gid, HostID: gid, Size: 1}}
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	c := confinement{attr: attr}
	try := exec.CommandContext(ctx, "/bin/sh", "-c", ":")
	c.apply(try)
	if try.Run() != nil {
		return confinement{}
	}
	return c
}

func (c confinement) apply(cmd *exec.Cmd) {
	if c.attr != nil {
		attr := *c.attr
		cmd.SysProcAttr = &attr
	}
}

func (c confinement) String() string {
	if c.attr == nil {
		return "no namespaces (this system does not allow them)"
	}
	return "its own network, IPC and host name namespaces"
}

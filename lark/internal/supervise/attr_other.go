//go:build unix && !linux

package supervise

import "syscall"

// childAttr puts the child in a process group of its own, so that Ctrl-C reaches only the supervisor. The supervisor's
// death reaches the child through its standard input alone.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true}
}

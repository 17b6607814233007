package supervise

import "syscall"

// childAttr puts the child in a process group of its own, so that Ctrl-C reaches only the supervisor, and asks the
// kernel to stop it when the supervisor dies.
func childAttr() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
}

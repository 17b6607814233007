package confine

import (
	"os"
	"slices"
	"unsafe"

	"golang.org/x/sys/unix"
)

// deniedCalls fail with EPERM, whatever their arguments. Those that only some processors have are in deniedOldCalls.
var deniedCalls = []uintptr{
	// Network.
	unix.SYS_SOCKET, unix.SYS_SOCKETPAIR, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4,
	unix.SYS_SENDTO, unix.SYS_SENDMSG, unix.SYS_SENDMMSG,
	// Other processes.
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE, unix.SYS_KCMP, unix.SYS_PIDFD_GETFD,
	// Mounts and namespaces.
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_UNSHARE, unix.SYS_SETNS, unix.SYS_OPEN_TREE,
	unix.SYS_MOVE_MOUNT, unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_MOUNT_SETATTR,
	// Parts of the kernel that a decoder has no use for, and that have been ways into it.
	unix.SYS_BPF, unix.SYS_PERF_EVENT_OPEN, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL, unix.SYS_FANOTIFY_INIT, unix.SYS_OPEN_BY_HANDLE_AT, unix.SYS_NAME_TO_HANDLE_AT,
	// The machine.
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD, unix.SYS_REBOOT,
	unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_SYSLOG, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_QUOTACTL_FD, unix.SYS_SETTIMEOFDAY,
	unix.SYS_CLOCK_SETTIME, unix.SYS_CLOCK_ADJTIME, unix.SYS_ADJTIMEX, unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_VHANGUP,
	// Changes to files.
	unix.SYS_UNLINKAT, unix.SYS_RENAMEAT2, unix.SYS_MKDIRAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_MKNODAT, unix.SYS_FCHMOD,
	unix.SYS_FCHMODAT, unix.SYS_FCHMODAT2, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT, unix.SYS_TRUNCATE, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE,
	unix.SYS_SETXATTR, unix.SYS_LSETXATTR, unix.SYS_FSETXATTR, unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FREMOVEXATTR,
	unix.SYS_UTIMENSAT,
}

// missingCalls fail with ENOSYS: their arguments lie in memory, where a filter cannot look, and every C library knows how to do without them.
var missingCalls = []uintptr{unix.SYS_CLONE3, unix.SYS_OPENAT2}

// deniedArguments fail with EPERM if a bit of the mask is set in an argument.
type deniedArgument struct {
	call     uintptr
	argument uint32
	mask     uint32
}

const (
	makesFile = unix.O_CREAT | unix.O_TRUNC
	// allNamespaces are the flags of clone(2) that make a namespace.
	allNamespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID |
		unix.CLONE_NEWNET
)

// Answers of a filter, and where its input, struct seccomp_data, has its fields (seccomp(2)).
const (
	refused       = unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
	unknown       = unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)
	offsetCall    = 0
	offsetArch    = 4
	offsetArgs    = 16
	argumentBytes = 8
)

// filterProgram is the filter as a program for the kernel's BPF machine; nil for processors whose calls are not known here. The
// namespaces allowed are those with which the child itself is started.
func filterProgram(namespaces uint32) []unix.SockFilter {
	if auditArch == 0 {
		return nil
	}
	denied := slices.Concat(deniedOldArguments, []deniedArgument{
		{unix.SYS_OPENAT, 2, makesFile},
		{unix.SYS_CLONE, 0, allNamespaces &^ namespaces},
	})
	// Calls of another instruction set (int 0x80 on amd64) have other numbers: nothing that belongs to us makes them.
	p := []unix.SockFilter{
		load(offsetArch), unless(unix.BPF_JEQ, auditArch), answer(unix.SECCOMP_RET_KILL_PROCESS),
		load(offsetCall),
	}
	if auditArch == unix.AUDIT_ARCH_X86_64 {
		const x32 = 0x40000000 // a third set of calls
		p = append(p, jump(unix.BPF_JGE, x32, 0, 1), answer(unknown))
	}
	for _, call := range missingCalls {
		p = append(p, jump(unix.BPF_JEQ, uint32(call), 0, 1), answer(unknown))
	}
	for _, call := range slices.Concat(deniedOldCalls, deniedCalls) {
		p = append(p, jump(unix.BPF_JEQ, uint32(call), 0, 1), answer(refused))
	}
	for _, d := range denied {
		p = append(p, jump(unix.BPF_JEQ, uint32(d.call), 0, 4),
			load(offsetArgs+argumentBytes*d.argument), jump(unix.BPF_JSET, d.mask, 0, 1), answer(refused), load(offsetCall))
	}
	return append(p, answer(unix.SECCOMP_RET_ALLOW))
}

// load takes 32 bits of the input into the accumulator: of an argument, its lower half.
func load(offset uint32) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: offset}
}

// jump passes over as many instructions as yes or no says.
func jump(test uint16, k uint32, yes, no uint8) unix.SockFilter {
	return unix.SockFilter{Code: unix.BPF_JMP | test | unix.BPF_K, Jt: yes, Jf: no, K: k}
}

// unless passes over the next instruction if the test holds.
func unless(test uint16, k uint32) unix.SockFilter { return jump(test, k, 1, 0) }

func answer(k uint32) unix.SockFilter { return unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: k} }

// restrictCalls puts the calling thread, and what it starts, behind the filter.
func restrictCalls(filter []unix.SockFilter) error {
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program))) //nolint:gosec // the call takes a structure by its address
	return os.NewSyscallError("seccomp", errnoOrNil(errno))
}

package confine

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

// deniedOldCalls are calls that newer processors' tables no longer have.
var deniedOldCalls = []uintptr{
	unix.SYS_UNLINK, unix.SYS_RENAME, unix.SYS_RENAMEAT, unix.SYS_MKDIR, unix.SYS_RMDIR, unix.SYS_LINK, unix.SYS_SYMLINK, unix.SYS_MKNOD,
	unix.SYS_CHMOD, unix.SYS_CHOWN, unix.SYS_LCHOWN, unix.SYS_CREAT, unix.SYS_UTIME, unix.SYS_UTIMES, unix.SYS_FUTIMESAT, unix.SYS_IOPL,
	unix.SYS_IOPERM, unix.SYS_MODIFY_LDT,
}

var deniedOldArguments = []deniedArgument{{unix.SYS_OPEN, 1, makesFile}}

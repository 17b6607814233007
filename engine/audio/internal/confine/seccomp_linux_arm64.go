package confine

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

var deniedOldCalls = []uintptr{unix.SYS_RENAMEAT}

var deniedOldArguments []deniedArgument

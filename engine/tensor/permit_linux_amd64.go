package tensor

import "golang.org/x/sys/unix"

// permitTiles asks for the state of AMX tiles, for all threads of the process. Linux refuses when it is older than 5.16, or when a
// thread's stack for signals is too small for that state; Go's are not.
func permitTiles() error {
	const requestPermission, tileData = 0x1023, 18 // ARCH_REQ_XCOMP_PERM and XFEATURE_XTILEDATA of asm/prctl.h
	if _, _, errno := unix.RawSyscall(unix.SYS_ARCH_PRCTL, requestPermission, tileData, 0); errno != 0 {
		return errno
	}
	return nil
}

package tensor

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Of Linux's asm/prctl.h: what arch_prctl is asked for, and the states of tiles in XCR0.
const (
	supportedStates, requestPermission = 0x1021, 0x1023
	tileData                           = 18
	tileStates                         = 1<<17 | 1<<tileData // configuration and data
)

// permitTiles asks for the state of AMX tiles, for all threads of the process. Linux refuses when it is older than 5.16, when XCR0
// lacks that state, or when a thread's stack for signals is too small for that state; Go's are not.
func permitTiles() error {
	var states uint64
	if _, _, errno := unix.RawSyscall(unix.SYS_ARCH_PRCTL, supportedStates, uintptr(unsafe.Pointer(&states)), 0); errno != 0 { //nolint:gosec // G103: the system writes the mask there
		return fmt.Errorf("%w: which states it saves: %w", errNotPermitted, errno)
	}
	if states&tileStates != tileStates {
		return fmt.Errorf("%w: XCR0 has the states %#x", errNotPermitted, states)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_ARCH_PRCTL, requestPermission, tileData, 0); errno != 0 {
		return fmt.Errorf("%w: %w", errNotPermitted, errno)
	}
	return nil
}

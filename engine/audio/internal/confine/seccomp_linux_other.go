//go:build linux && !amd64 && !arm64

package confine

// auditArch is 0 where no filter is made.
const auditArch = 0

var (
	deniedOldCalls     []uintptr
	deniedOldArguments []deniedArgument
)

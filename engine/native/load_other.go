//go:build !((linux || darwin) && (amd64 || arm64))

package native

import (
	"fmt"
	"log/slog"
	"runtime"
)

// Function is a function of a library and the Go function variable that it is bound to.
type Function struct {
	Part   Part
	Symbol string
	Target any
}

// Bind is not supported here.
func (l *Library) Bind([]Function) error { return ErrUnsupported }

// Address is not supported here.
func (l *Library) Address(Part, string) (uintptr, error) { return 0, ErrUnsupported }

// BindAddress is not supported here; nothing can be opened whose functions it could bind.
func BindAddress(any, uintptr) {}

func open(string, [3]string, *slog.Logger) (*Library, error) {
	return nil, fmt.Errorf("%w: %s/%s", ErrUnsupported, runtime.GOOS, runtime.GOARCH)
}

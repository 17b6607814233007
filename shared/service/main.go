package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/larkstream/larkstream/shared/config"
)

// Main runs a program and exits the process: 0 when run returns nil, 1 when it returns an error, which
// is printed. The first SIGINT or SIGTERM cancels run's context; the second ends the process at once.
func Main(name string, run func(ctx context.Context, args []string) error) {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // the next signal finds the default handler
	//nolint:forbidigo // this is main, shared by all programs
	os.Exit(exitCode(name, run(ctx, os.Args[1:]), os.Stderr))
}

// exitCode reports err and returns the process's exit code.
func exitCode(name string, err error, out io.Writer) int {
	if err == nil || errors.Is(err, config.ErrDone) {
		return 0
	}
	fmt.Fprintf(out, "%s: %v\n", name, err)
	return 1
}

package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/gateway/server"
	"github.com/larkstream/larkstream/lark/internal/broker"
	"github.com/larkstream/larkstream/lark/internal/up"
	"github.com/larkstream/larkstream/services/chunker-svc/chunkersvc"
	"github.com/larkstream/larkstream/services/encoder-svc/encodersvc"
	"github.com/larkstream/larkstream/services/llm-svc/llmsvc"
	"github.com/larkstream/larkstream/services/projector-svc/projectorsvc"
)

// orphanLimit is how long a child goes on after its supervisor's death, to finish in good order.
const orphanLimit = 8 * time.Second

// errOrphaned ends a child whose supervisor is gone.
var errOrphaned = errors.New("the supervisor is gone")

// command runs one stage until ctx ends.
type command func(ctx context.Context, args []string) error

func stages() map[string]command {
	return map[string]command{
		up.Broker: broker.Command, up.Chunker: chunkersvc.Command, up.Encoder: encodersvc.Command,
		up.Projector: projectorsvc.Command, up.LLM: llmsvc.Command, up.Gateway: server.Command,
	}
}

func (a *app) serveCommand() *cobra.Command {
	names := slices.Sorted(maps.Keys(stages()))
	return &cobra.Command{
		Use: "serve [--attached] STAGE [FLAG]...", Short: "Run one stage in this process", Hidden: true,
		Long: "Runs one stage, of " + strings.Join(names, ", ") + ", as its own binary would: lark serve STAGE --help lists its flags.\n" +
			"With --attached it ends when its standard input does.",
		Example:   "  lark serve chunker --help",
		ValidArgs: names, DisableFlagParsing: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			attached := len(args) > 0 && args[0] == "--attached"
			if attached {
				args = args[1:]
			}
			if len(args) == 0 || stages()[args[0]] == nil {
				return usage(fmt.Errorf("serve needs a stage, one of %s", strings.Join(names, ", ")))
			}
			run := stages()[args[0]]
			if !attached {
				return run(cmd.Context(), args[1:])
			}
			return runAttached(cmd.Context(), a.In, orphanLimit, func(ctx context.Context) error { return run(ctx, args[1:]) })
		},
	}
}

// runAttached calls run and cancels its context once parent, the read end of a pipe that the supervisor holds open, ends:
// the supervisor is dead. If run has not returned after limit, it is left behind, to end with the process.
func runAttached(ctx context.Context, parent io.Reader, limit time.Duration, run func(context.Context) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		_, _ = io.Copy(io.Discard, parent)
		cancel(errOrphaned)
	}()
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	if !errors.Is(context.Cause(ctx), errOrphaned) {
		return <-done
	}
	select {
	case err := <-done:
		return errors.Join(errOrphaned, err)
	case <-time.After(limit):
		return errOrphaned
	}
}

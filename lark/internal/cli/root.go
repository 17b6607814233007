// Package cli is lark's command line: it reads the flags, calls the packages that do the work, and prints what they give.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/up"
)

// Exit codes of lark.
const (
	exitOK = 0
	// exitFailed: the command ran and did not reach its goal, e.g. a question was not answered.
	exitFailed = 1
	// exitUsage: the command line was wrong; nothing was done.
	exitUsage = 2
	// exitPartial: a run over a catalogue has ended, and some of its items have not succeeded.
	exitPartial = 3
	// exitInterrupted: a signal has ended the command before its goal, as shells tell it for Ctrl-C.
	exitInterrupted = 130
)

// Streams are the standard streams of a run.
type Streams struct {
	In       io.Reader
	Out, Err io.Writer
}

// app is what the commands share.
type app struct {
	Streams
	log *slog.Logger
	// dataDir is the value of --data.
	dataDir string
}

// errUsage marks errors of the command line itself.
var errUsage = errors.New("wrong usage")

// errSilent is returned by a command that has already printed why it failed.
var errSilent = errors.New("already reported")

// Main runs the command line and returns the exit code of the process.
func Main(ctx context.Context, args []string, streams Streams) int {
	out := &output{Writer: streams.Out}
	streams.Out = out
	a := &app{Streams: streams, log: slog.New(slog.NewTextHandler(streams.Err, &slog.HandlerOptions{Level: logLevel()}))}
	root := a.root() //nolint:contextcheck // cobra hands the context to the command
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	if out.err != nil && (err == nil || errors.Is(err, errSilent)) {
		err = out.err
	}
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errSilent):
		return failedOr(ctx)
	case errors.Is(err, errPartial):
		return exitPartial
	case errors.Is(err, errUsage):
		_, _ = fmt.Fprintf(streams.Err, "lark: %v\nTry lark --help.\n", err)
		return exitUsage
	default:
		_, _ = fmt.Fprintf(streams.Err, "lark: %v\n", err)
		var unreachable *client.UnreachableError
		if errors.As(err, &unreachable) {
			_, _ = fmt.Fprintln(streams.Err, "Start a gateway with lark up, or name the URL of a running one with --server.")
		}
		return failedOr(ctx)
	}
}

// failedOr is the exit code of a command that did not reach its goal.
func failedOr(ctx context.Context) int {
	if ctx.Err() != nil {
		return exitInterrupted
	}
	return exitFailed
}

func logLevel() slog.Level {
	var level slog.Level
	if level.UnmarshalText([]byte(os.Getenv("LARK_LOG_LEVEL"))) != nil {
		return slog.LevelInfo
	}
	return level
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "lark",
		Short: "Ask questions about music",
		Long:  `lark answers questions about music: 25 seconds of audio and a question in text go in, an answer in text comes out.`,
		Example: `  lark ask song.mp3 "What key is this in?" "Are there drums?"
  lark up                       runs gateway, broker and all stages on this machine
  lark analyse song.mp3         measures tempo, key, chords and loudness without any model
  lark doctor                   looks for what is missing`,
		SilenceUsage: true, SilenceErrors: true, PersistentPreRunE: noEmptyFlags,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: false},
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	root.PersistentFlags().StringVar(&a.dataDir, "data", os.Getenv("LARK_DATA_DIR"),
		"data `folder` (default $XDG_DATA_HOME/larkstream or ~/.local/share/larkstream; env LARK_DATA_DIR)")
	root.AddCommand(a.upCommand(), a.askCommand(), a.demoCommand(), a.jobsCommand(), a.deadCommand(), a.keysCommand(), a.tenantsCommand(), a.webhooksCommand(), a.auditCommand(), a.indexCommand(), a.feedCommand(), a.topicCommand(), a.analyseCommand(), a.evalCommand(), a.datasetCommand(), a.benchCommand(), a.simCommand(), a.serveCommand(), a.modelCommand(), a.doctorCommand(), a.versionCommand())
	completeDefaults(root)
	markUsage(root)
	return root
}

// markUsage makes wrong arguments of every command, and unknown subcommands, errors of the command line.
func markUsage(cmd *cobra.Command) {
	if cmd.HasSubCommands() && !cmd.Runnable() {
		cmd.Args = knownSubcommand
		cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	}
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error { return usage(check(cmd, args)) }
	}
	for _, c := range cmd.Commands() {
		markUsage(c)
	}
}

// usage marks an error as one of the command line.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w: %w", errUsage, err)
}

// folder is the data folder that the user named, or the default one.
func (a *app) folder() (up.Folder, error) {
	if a.dataDir != "" {
		return up.Abs(a.dataDir)
	}
	return up.DefaultFolder()
}

func (a *app) printf(format string, args ...any) {
	_, _ = fmt.Fprintf(a.Out, format, args...)
}

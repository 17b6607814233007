package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lab/bench"
	"github.com/larkstream/larkstream/lark/internal/demo"
	"github.com/larkstream/larkstream/lark/internal/up"
)

func (a *app) benchCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "bench", Short: "Measure this system on this machine", Example: "  lark bench pipeline --windows 40"}
	cmd.AddCommand(a.benchPipeline(), a.benchEncoder(), a.benchWindow(), a.benchPrecisions(), a.benchPlain(), a.benchLanes(), a.benchGateway(), a.benchIndex(), a.benchLLM(), a.benchAudioLLM(), a.benchClip(), a.benchCache(), a.benchSoak())
	return cmd
}

func (a *app) benchPipeline() *cobra.Command {
	var cfg bench.Config
	var asJSON bool
	var write string
	cmd := &cobra.Command{
		Use: "pipeline", Short: "Measure the pipeline against a plain loop over the same engines", Args: cobra.NoArgs,
		Long: `Sends the same windows of music, in turns, through a plain loop over the engines in one process and through the real
processes on an empty data folder, and prints the throughput and the processor time of both; then, with single jobs on the idle pipeline, the time
that every hop adds and the latency of a new question about a known window; and the peak memory of every process.`,
		Example: "  lark bench pipeline --write docs/benchmarks/pipeline.md",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := a.benchConfig(cmd.Context(), &cfg); err != nil {
				return err
			}
			report, err := bench.Run(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return a.writeBench(report, asJSON, write)
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Windows, "windows", 200, "windows of 25 s in each round")
	f.IntVar(&cfg.Rounds, "rounds", 2, "rounds")
	f.IntVar(&cfg.Jobs, "jobs", 30, "single jobs for the hops and the repeated question")
	f.StringVar(&cfg.ModelDir, "model", "", "model bundle `folder`, as for lark up")
	f.StringVar(&cfg.Source, "track", "", "music from which the windows are made (default: the bundled piece)")
	f.StringVar(&cfg.Scratch, "scratch", "", "`folder` for 4.4 MB of temporary files per window (default: the system's)")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	f.StringVar(&write, "write", "", "Markdown `file` to write the table to as well")
	return cmd
}

func (a *app) benchConfig(ctx context.Context, cfg *bench.Config) error {
	if cfg.Windows < 1 || cfg.Rounds < 1 || cfg.Jobs < 1 {
		return usage(errors.New("windows, rounds and jobs must be above 0"))
	}
	folder, err := a.folder()
	if err != nil {
		return err
	}
	if cfg.ModelDir, err = checkedModel(ctx, cfg.ModelDir, folder); err != nil {
		return err
	}
	if cfg.Source == "" {
		piece, err := demo.PieceFolder(cfg.ModelDir)
		if err != nil {
			return err
		}
		cfg.Source = filepath.Join(piece, "larksong.mp3")
	}
	if cfg.Executable, err = os.Executable(); err != nil {
		return fmt.Errorf("finding own binary: %w", err)
	}
	cfg.Log = a.Err
	cfg.Start = func(ctx context.Context, dataDir string) (bench.Stack, error) {
		return up.Start(ctx, up.Config{
			Data: up.Folder(dataDir), Addr: "127.0.0.1:0", ModelDir: cfg.ModelDir, Env: os.Environ(), Executable: cfg.Executable,
		}, up.Deps{Log: slog.New(slog.NewTextHandler(a.Err, nil))})
	}
	cfg.Progress = func(what string) { _, _ = fmt.Fprintln(a.Err, what) }
	return nil
}

func (a *app) writeBench(report bench.Report, asJSON bool, write string) error {
	var text bytes.Buffer
	report.Write(&text)
	if write != "" {
		page := "# What the pipeline costs\n\nWritten by `lark bench pipeline --write`; absolute figures hold for the machine named, the ratios compare\n" +
			"both in one run, in turns. Both do the same work on each window: cut, measure by signal processing, encode, project, answer two questions, and\n" +
			"compare the answers with what was measured.\n\n" + text.String()
		if err := os.WriteFile(write, []byte(page), 0o644); err != nil { //nolint:gosec // a page of the documentation, for everybody
			return fmt.Errorf("writing the table: %w", err)
		}
	}
	if asJSON {
		return json.NewEncoder(a.Out).Encode(report)
	}
	a.printf("%s", text.String())
	return nil
}

// benchPlain is the plain loop in a process of its own.
func (a *app) benchPlain() *cobra.Command {
	var modelDir string
	cmd := &cobra.Command{
		Use: "plain TRACK...", Short: "Run the plain loop over the engines", Args: cobra.MinimumNArgs(1), Hidden: true,
		Example: "  lark bench plain --model models/lark-nano song.wav",
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := up.FindModel(modelDir, "")
			if err != nil {
				return err
			}
			plain, err := bench.RunPlain(cmd.Context(), dir, args, bench.Questions())
			if err != nil {
				return err
			}
			return json.NewEncoder(a.Out).Encode(plain)
		},
	}
	cmd.Flags().StringVar(&modelDir, "model", "", "model bundle `folder`")
	return cmd
}

// checkPrecisions refuses precisions that no encoder has.
func checkPrecisions(asked []string) error {
	for _, p := range asked {
		if !slices.Contains(bench.Precisions(), p) {
			return fmt.Errorf("--precision: %q is not one of %v", p, bench.Precisions())
		}
	}
	return nil
}

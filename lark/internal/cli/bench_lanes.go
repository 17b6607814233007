package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lab/bench"
	"github.com/larkstream/larkstream/lark/internal/up"
)

func (a *app) benchLanes() *cobra.Command {
	var cfg bench.LanesConfig
	var modelDir string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "lanes", Short: "Measure what people wait behind a catalogue, and what lanes cost", Args: cobra.NoArgs,
		Long: `Runs the real processes with test engines, whose handlers take the time of --handler, and measures what a question on a known and on a
new track waits on the idle system and with --queued bulk windows before it; how much later the last of ten jobs of a small tenant is answered behind
--tenant-jobs jobs of a large one, in both lanes; then, on systems of their own and in turns, the throughput of
--windows windows in the bulk lane and in the other lane without bounds.`,
		Example: "  lark bench lanes\n  lark bench lanes --queued 2000 --windows 500 --rounds 1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkLanes(cfg); err != nil {
				return usage(err)
			}
			folder, err := a.folder()
			if err != nil {
				return err
			}
			if modelDir, err = checkedModel(cmd.Context(), modelDir, folder); err != nil {
				return err
			}
			cfg.Progress = func(what string) { _, _ = fmt.Fprintln(a.Err, what) }
			cfg.Start = func(ctx context.Context, dataDir string, env []string) (bench.Stack, error) {
				return up.Start(ctx, up.Config{
					Data: up.Folder(dataDir), Addr: "127.0.0.1:0", ModelDir: modelDir, Env: append(os.Environ(), env...),
				}, up.Deps{Log: slog.New(slog.NewTextHandler(a.Err, nil))})
			}
			report, err := bench.RunLanes(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(a.Out).Encode(report)
			}
			report.Write(a.Out)
			return nil
		},
	}
	f := cmd.Flags()
	f.IntVar(&cfg.Queued, "queued", 20_000, "bulk windows before the questions")
	f.IntVar(&cfg.Questions, "questions", 40, "questions on a known track, and as many on new tracks")
	f.IntVar(&cfg.Windows, "windows", 2000, "windows in each round of throughput")
	f.IntVar(&cfg.Rounds, "rounds", 2, "rounds of throughput")
	f.IntVar(&cfg.TenantJobs, "tenant-jobs", 10_000, "jobs of a large tenant before a small one with ten; 0 measures no tenants")
	f.IntVar(&cfg.TenantWindows, "tenant-windows", 0, "windows of each tenant in Kafka at once (limits.tenant_windows; 0: the gateway's default)")
	f.DurationVar(&cfg.Handler, "handler", 20*time.Millisecond, "time of the test engines for a window, and for an answer")
	f.StringVar(&modelDir, "model", "", "model bundle `folder`, as for lark up; its engines are not used")
	f.StringVar(&cfg.Scratch, "scratch", "", "`folder` for 0.2 MB of temporary files per window (default: the system's)")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func checkLanes(cfg bench.LanesConfig) error {
	if cfg.Queued < 100 || cfg.Windows < 100 || cfg.Queued > bench.MaxQueued() || cfg.Windows > bench.MaxQueued() {
		return fmt.Errorf("--queued and --windows must be between 100 and %d", bench.MaxQueued())
	}
	if cfg.TenantJobs < 0 || cfg.TenantJobs > bench.MaxQueued() || cfg.TenantWindows < 0 || (cfg.TenantJobs > 0 && cfg.TenantJobs < 100) {
		return fmt.Errorf("--tenant-jobs must be 0 or between 100 and %d, --tenant-windows not below 0", bench.MaxQueued())
	}
	if cfg.Questions < 2 || cfg.Rounds < 1 || cfg.Handler <= 0 {
		return errors.New("--questions must be above 1, --rounds and --handler above 0")
	}
	return nil
}

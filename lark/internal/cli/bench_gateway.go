package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lab/bench"
	"github.com/larkstream/larkstream/lark/internal/up"
)

func (a *app) benchGateway() *cobra.Command {
	var cfg bench.GatewayConfig
	var modelDir string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "gateway", Short: "Measure how many submissions a gateway accepts", Args: cobra.NoArgs,
		Long: `Runs the real gateway and the embedded broker on an empty database and submits --jobs jobs about audio that the gateway has, --clients at
once, and prints how many were accepted in a second and how long a submission took. Every accepted job is in the database and goes to the broker;
no stage works on it. Then it opens --streams event streams at once and tells what memory they take. The clients run on the same machine. PostgreSQL's server is started for the measurement: Debian has it in the package
postgresql.`,
		Example: "  lark bench gateway\n  lark bench gateway --databases sqlite --jobs 5000 --clients 8 --rounds 1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkGateway(cfg); err != nil {
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
					Data: up.Folder(dataDir), Addr: "127.0.0.1:0", Targets: []string{up.Broker, up.Gateway}, ModelDir: modelDir, Env: append(os.Environ(), env...),
				}, up.Deps{Log: slog.New(slog.NewTextHandler(a.Err, nil))})
			}
			report, err := bench.RunGateway(cmd.Context(), cfg)
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
	f.IntVar(&cfg.Jobs, "jobs", 20_000, "jobs in each round")
	f.IntVar(&cfg.Clients, "clients", 64, "jobs submitted at once")
	f.IntVar(&cfg.Streams, "streams", 1000, "event streams that are open at once after the jobs of each round; 0 measures none")
	f.IntVar(&cfg.Rounds, "rounds", 2, "rounds on each database")
	f.StringSliceVar(&cfg.Databases, "databases", []string{bench.SQLite, bench.PostgreSQL}, "databases to measure: sqlite, postgres")
	f.StringVar(&modelDir, "model", "", "model bundle `folder`, as for lark up; its engines are not used")
	f.StringVar(&cfg.Scratch, "scratch", "", "`folder` for 5 kB of temporary files per job (default: the system's)")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func checkGateway(cfg bench.GatewayConfig) error {
	if cfg.Jobs < 1 || cfg.Clients < 1 || cfg.Rounds < 1 || cfg.Streams < 0 {
		return errors.New("--jobs, --clients and --rounds must be above 0, --streams not below")
	}
	return checkDatabases(cfg.Databases)
}

func checkDatabases(names []string) error {
	for _, name := range names {
		if name != bench.SQLite && name != bench.PostgreSQL {
			return fmt.Errorf("--databases: %q is neither %s nor %s", name, bench.SQLite, bench.PostgreSQL)
		}
	}
	return nil
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lab/bench"
	"github.com/larkstream/larkstream/lark/internal/index"
	"github.com/larkstream/larkstream/lark/internal/up"
)

func (a *app) benchIndex() *cobra.Command {
	var cfg bench.IndexConfig
	var modelDir string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "index", Short: "Measure what a run over a large catalogue costs", Args: cobra.NoArgs,
		Long: `Runs the real gateway and the embedded broker on an empty database, fills a run with --items items, works through it, exports it as Parquet and
reconciles it. In place of the stages stands a loop that answers each job at once, so that what is measured is the ledger, the controller of
runs, the recorder and the export. Prints throughput, processor time of an item, memory and the time of status queries for each tenth of the run.`,
		Example: "  lark bench index --items 20000 --databases sqlite\n  lark bench index --items 1000000",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Items < 10 {
				return usage(errors.New("--items must be at least 10"))
			}
			if err := checkDatabases(cfg.Databases); err != nil {
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
			cfg.Start = func(ctx context.Context, dataDir string, env []string) (bench.Stack, string, error) {
				s, err := up.Start(ctx, up.Config{
					Data: up.Folder(dataDir), Addr: "127.0.0.1:0", Targets: []string{up.Broker, up.Gateway}, ModelDir: modelDir, Env: append(os.Environ(), env...),
				}, up.Deps{Log: slog.New(slog.NewTextHandler(a.Err, nil))})
				if err != nil {
					return nil, "", err
				}
				return s, s.Place(up.Broker).KafkaAddr, nil
			}
			cfg.Fill = func(ctx context.Context, gw *client.Client, run, manifest string) error {
				_, err := index.Filling{Gateway: gw}.Fill(ctx, run, index.Source{Name: manifest})
				return err
			}
			cfg.Export = exportAndVerify
			report, err := bench.RunIndex(cmd.Context(), cfg)
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
	f.IntVar(&cfg.Items, "items", 100_000, "items of the run")
	f.StringSliceVar(&cfg.Databases, "databases", []string{bench.SQLite}, "databases to measure: sqlite, postgres")
	f.StringVar(&modelDir, "model", "", "model bundle `folder`, as for lark up; its engines are not used")
	f.StringVar(&cfg.Scratch, "scratch", "", "`folder` for 10 kB of temporary files per item (default: the system's)")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func exportAndVerify(ctx context.Context, gw *client.Client, run client.Run, dir string) error {
	if _, err := (index.Export{Gateway: gw, Format: "parquet", Dir: dir}).Run(ctx, run); err != nil {
		return err
	}
	v, err := index.Verify(ctx, gw, run, nil, dir)
	if err == nil && v.DifferenceCount > 0 {
		err = fmt.Errorf("the run has %d differences, the first of them: %s", v.DifferenceCount, v.Differences[0])
	}
	return err
}

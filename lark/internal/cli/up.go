package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/gateway/server"
	"github.com/larkstream/larkstream/lark/internal/supervise"
	"github.com/larkstream/larkstream/lark/internal/up"
)

// defaultAddr is where the gateway of lark up listens.
const defaultAddr = "127.0.0.1:8080"

func (a *app) upCommand() *cobra.Command {
	var cfg up.Config
	var quiet bool
	var drain time.Duration
	cmd := &cobra.Command{
		Use: "up", Short: "Run everything on this machine", Args: cobra.NoArgs,
		Long: `Runs the embedded broker, the four stages and the gateway as processes of their own, starts them again when they die,
and keeps all their state in the data folder. Ctrl-C stops taking work in, finishes what is in hand and ends; a second
Ctrl-C ends at once. Only one lark up can run on a data folder.

Where KAFKA_BROKERS, REDIS_URL, BLOB_URL, DATABASE_URL or OTEL_EXPORTER_OTLP_ENDPOINT are set, those services are used in
place of what the data folder offers.

With --addr, the gateway listens where other machines reach it. Requests must then carry a key: LARK_ADMIN_KEY sets the first one
(lk_admin_$(openssl rand -hex 32)), and lark keys makes others. lark sends the key of LARK_TOKEN.

The model is the bundle named by --model or LARK_MODEL_DIR; without one, models/lark-nano is looked for beside the lark
binary, in the folder above it, in ../share/larkstream, in the working folder, in the one above it and in the data folder.`,
		Example: `  lark up
  LARK_ADMIN_KEY=$(cat key) lark up --data /srv/lark --addr 0.0.0.0:8080
  KAFKA_BROKERS=kafka-1:9092 BLOB_URL=s3://music lark up --target encoder,projector`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			folder, err := a.folder()
			if err != nil {
				return err
			}
			cfg.Data, cfg.Env = folder, os.Environ()
			if holder, running, err := folder.Running(); err == nil && running {
				return &up.LockedError{Folder: folder, Holder: holder}
			}
			if err := checkExposure(cfg); err != nil {
				return usage(err)
			}
			if !slices.Equal(cfg.Targets, []string{up.Broker}) {
				if cfg.ModelDir, err = checkedModel(cmd.Context(), cfg.ModelDir, folder); err != nil {
					return err
				}
			}
			cfg.Supervise, cfg.Drain = supervise.Config{StopTimeout: drain + 5*time.Second}, drain
			var output io.Writer
			if !quiet {
				output = a.Err
			}
			return a.up(cmd.Context(), cfg, output)
		},
	}
	f := cmd.Flags()
	f.StringSliceVar(&cfg.Targets, "target", nil, fmt.Sprintf("`stages` to run, of %v (default all)", up.Stages()))
	f.StringVar(&cfg.Addr, "addr", defaultAddr, "the gateway's `address`; port 0 takes any free one")
	f.StringVar(&cfg.ModelDir, "model", "", "model bundle `folder` (env LARK_MODEL_DIR; default: see above)")
	f.BoolVarP(&quiet, "quiet", "q", false, "keep the stages' log lines to the files in DATA/logs")
	f.DurationVar(&drain, "drain", 30*time.Second, "how long a stage may take to finish what it has in hand")
	return cmd
}

// checkExposure says at once what the gateway would say again and again in its log.
func checkExposure(cfg up.Config) error {
	if len(cfg.Targets) > 0 && !slices.Contains(cfg.Targets, up.Gateway) {
		return nil
	}
	return server.CheckExposure(cfg.Addr, os.Getenv)
}

func (a *app) up(ctx context.Context, cfg up.Config, output io.Writer) error {
	stack, err := up.Start(ctx, cfg, up.Deps{Log: a.log, Output: output})
	if err != nil {
		return err
	}
	a.printReady(stack, cfg.Data)
	<-ctx.Done()
	_, _ = fmt.Fprintln(a.Err, "lark: finishing the work in hand; Ctrl-C again ends at once")
	hurry, stop := signal.NotifyContext(context.WithoutCancel(ctx), os.Interrupt, syscall.SIGTERM)
	defer stop()
	stack.Stop(hurry)
	return nil
}

// printReady writes the one line that says that everything answers.
func (a *app) printReady(stack *up.Stack, data up.Folder) {
	if url := stack.GatewayURL(); url != "" {
		admin := stack.GatewayAdminURL()
		a.printf("ready: gateway %s  docs %s/docs  traces %s/debug/traces  metrics %s/metrics  data %s\n", url, url, admin, admin, data)
		return
	}
	a.printf("ready:")
	for _, stage := range stack.Running() {
		place := stack.Place(stage)
		a.printf(" %s http://%s", stage, place.HTTPAddr)
		if place.KafkaAddr != "" {
			a.printf(" (kafka %s)", place.KafkaAddr)
		}
	}
	a.printf("  data %s\n", data)
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/ask"
	"github.com/larkstream/larkstream/lark/internal/feed"
	"github.com/larkstream/larkstream/lark/internal/terminal"
	"github.com/larkstream/larkstream/shared/kafka"
)

func (a *app) feedCommand() *cobra.Command {
	var cfg feed.Config
	var asJSON, retryFailed, pinModel bool
	var server serverFlags
	cmd := &cobra.Command{
		Use: "feed FILE.jsonl", Short: "Publish the jobs of a file straight to Kafka", Args: cobra.ExactArgs(1),
		Long: `Publishes one job for each line of a file (- is standard input) straight to Kafka, without the gateway's HTTP API; a gateway on
the same topics takes the jobs up. A line is a JSON object: audio (a file, relative to the jobs file) or audio_ref (the SHA-256
of audio stored before), questions, and if wanted id, windows, max_tokens, temperature, top_p, top_k, repetition_penalty, seed. With "response_schema":"tags" the
answers are structured tags, and questions may be left out. Fed jobs go to the bulk lane: they are done while interactive jobs leave the
stages free, and always with a small share; "lane":"interactive" on a line asks for the other lane.

The file is UTF-8, or UTF-16 with a byte order mark; a line has at most 1 MiB. A line that cannot be used is reported with its number,
and the others go on.

A job's id follows from its line, and FILE.jsonl.fed remembers what was published to which installation: run it again after an
interruption, and it goes on where it stopped. A job that has failed stays failed when it is published again; --retry-failed asks the gateway and publishes
the jobs that have failed, in whole or in part, as a new attempt with an id of its own. --pin-model makes the model that the gateway serves now,
its prompt included, part of every job: with another model, the same line is another job. Kafka and the object store are those of KAFKA_BROKERS and BLOB_URL, or of the lark up on the data
folder. The exit code is 0 only if no line was rejected.`,
		Example: `  echo '{"audio":"song.mp3","questions":["What key is this in?"]}' > jobs.jsonl
  lark feed jobs.jsonl && lark jobs list
  lark feed --retry-failed jobs.jsonl`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg.File, cfg.Input, cfg.Log = args[0], a.In, a.log
			if err := a.feedTargets(&cfg); err != nil {
				return err
			}
			if err := a.feedGateway(cmd, &server, &cfg, retryFailed, pinModel); err != nil {
				return err
			}
			return a.feed(cmd.Context(), cfg, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per line of the file")
	cmd.Flags().StringVar(&cfg.Journal, "journal", "", "`file` that remembers what was published (default FILE.jsonl.fed)")
	cmd.Flags().BoolVar(&retryFailed, "retry-failed", false, "publish jobs that have failed once more, as new attempts")
	cmd.Flags().BoolVar(&pinModel, "pin-model", false, "make the model that the gateway serves part of the jobs")
	server.register(cmd.Flags())
	return cmd
}

// feed publishes the file and tells what became of its lines.
func (a *app) feed(ctx context.Context, cfg feed.Config, asJSON bool) error {
	var printing error
	progress := feedProgress{line: terminal.Of(a.Err), start: time.Now()}
	cfg.Progress = func(p feed.Progress) { progress.show(time.Now(), p) }
	cfg.Report = func(r feed.Result) {
		if asJSON {
			printing = errors.Join(printing, json.NewEncoder(a.Out).Encode(r))
		} else if r.State == feed.Rejected {
			progress.line.Clear()
			_, _ = fmt.Fprintf(a.Err, "line %d: %s\n", r.Line, ask.Printable(r.Error))
		}
	}
	totals, err := feed.Run(ctx, cfg)
	progress.line.Clear()
	if err != nil && ctx.Err() != nil {
		err = fmt.Errorf("interrupted: %d published, %d published before, %d rejected; %s", totals.Published, totals.Skipped, totals.Rejected, resume(cfg))
	}
	if err := errors.Join(err, printing); err != nil {
		return err
	}
	if !asJSON {
		a.printf("%d published, %d published before, %d rejected\n", totals.Published, totals.Skipped, totals.Rejected)
	}
	if totals.Rejected > 0 {
		return errSilent
	}
	return nil
}

// resume tells how to go on after an interruption.
func resume(cfg feed.Config) string {
	if cfg.File == "-" && cfg.Journal == "" {
		return "feed the same lines again: a job that is known already changes nothing, and --journal FILE would remember it"
	}
	return "the same command goes on where this one stopped"
}

// feedProgress is a line with the number of jobs, the rate and the time left.
type feedProgress struct {
	line        *terminal.Line
	start, last time.Time
}

// show draws the line, at most every barPeriod.
func (f *feedProgress) show(now time.Time, p feed.Progress) {
	if now.Sub(f.last) < barPeriod {
		return
	}
	f.last = now
	line := fmt.Sprintf("%d jobs", p.Jobs)
	if seconds := now.Sub(f.start).Seconds(); seconds > 0 {
		line += fmt.Sprintf(", %.1f/s", float64(p.Jobs)/seconds)
		if p.Total > 0 && p.Done > 0 {
			left := time.Duration(seconds * float64(max(p.Total-p.Done, 0)) / float64(p.Done) * float64(time.Second))
			line += fmt.Sprintf(", %d%%, %s left", min(100, 100*p.Done/p.Total), left.Round(time.Second))
		}
	}
	f.line.Draw(line)
}

// feedGateway asks the gateway what the flags need to know: the model, and which jobs have failed.
func (a *app) feedGateway(cmd *cobra.Command, server *serverFlags, cfg *feed.Config, retryFailed, pinModel bool) error {
	if !retryFailed && !pinModel {
		return nil
	}
	gw, err := a.gateway(cmd, server)
	if err != nil {
		return err
	}
	if pinModel {
		models, err := gw.Models(cmd.Context())
		if err != nil {
			return err
		}
		if len(models) != 1 {
			return fmt.Errorf("--pin-model: the gateway tells of %d models; start it with LARK_MODEL_DIR set to the bundle that the stages serve", len(models))
		}
		cfg.ModelDigest = models[0].Digest
	}
	if retryFailed {
		cfg.Failed = func(ctx context.Context, jobID string) (bool, error) {
			job, err := gw.Get(ctx, jobID)
			var problem *client.Problem
			if errors.As(err, &problem) && problem.Status == http.StatusNotFound {
				return false, nil
			}
			return job.State == client.StateFailed || job.State == client.StatePartial, err
		}
	}
	return nil
}

// feedTargets finds the broker and the object store.
func (a *app) feedTargets(cfg *feed.Config) error {
	folder, err := a.folder()
	if err != nil {
		return err
	}
	if cfg.Brokers, cfg.Security, err = a.brokers(nil); err != nil {
		return err
	}
	cfg.BlobURL = os.Getenv("BLOB_URL")
	if cfg.BlobURL == "" {
		cfg.BlobURL = folder.BlobURL()
	}
	return nil
}

// brokers are those named, or those of KAFKA_BROKERS, with the security of the environment; or the broker of the lark up on the data folder,
// which has none.
func (a *app) brokers(named []string) ([]string, kafka.Security, error) {
	if env := os.Getenv("KAFKA_BROKERS"); len(named) == 0 && env != "" {
		named = strings.Split(env, ",")
	}
	if len(named) > 0 {
		security, err := kafka.SecurityFromEnv(os.LookupEnv)
		return named, security, err
	}
	folder, err := a.folder()
	if err != nil {
		return nil, kafka.Security{}, err
	}
	addr, err := folder.RunningBroker()
	if err != nil {
		return nil, kafka.Security{}, err
	}
	return []string{addr}, kafka.Security{}, nil
}

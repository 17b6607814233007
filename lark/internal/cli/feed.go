package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lark/internal/feed"
)

func (a *app) feedCommand() *cobra.Command {
	var cfg feed.Config
	var asJSON bool
	cmd := &cobra.Command{
		Use: "feed FILE.jsonl", Short: "Publish the jobs of a file straight to Kafka", Args: cobra.ExactArgs(1),
		Long: `Publishes one job for each line of a file (- is standard input) straight to Kafka, without the gateway's HTTP API; a gateway on
the same topics takes the jobs up. A line is a JSON object: audio (a file, relative to the jobs file) or audio_ref (the SHA-256
of audio stored before), questions, and if wanted id, windows, max_tokens, temperature, top_p, seed. With "response_schema":"tags" the
answers are structured tags, and questions may be left out.

A job's id follows from its line, and FILE.jsonl.fed remembers what was published: run it again after an interruption, and it
goes on where it stopped. Kafka and the object store are those of KAFKA_BROKERS and BLOB_URL, or of the lark up on the data
folder. The exit code is 0 only if no line was rejected.`,
		Example: `  echo '{"audio":"song.mp3","questions":["What key is this in?"]}' > jobs.jsonl
  lark feed jobs.jsonl && lark jobs list`,
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg.File, cfg.Input, cfg.Log = args[0], a.In, a.log
			if err := a.feedTargets(&cfg); err != nil {
				return err
			}
			var printing error
			cfg.Report = func(r feed.Result) {
				if asJSON {
					printing = errors.Join(printing, json.NewEncoder(a.Out).Encode(r))
				} else if r.State == feed.Rejected {
					_, _ = fmt.Fprintf(a.Err, "line %d: %s\n", r.Line, r.Error)
				}
			}
			totals, err := feed.Run(cmd.Context(), cfg)
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
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per line of the file")
	cmd.Flags().StringVar(&cfg.Journal, "journal", "", "`file` that remembers what was published (default FILE.jsonl.fed)")
	return cmd
}

// feedTargets finds the broker and the object store.
func (a *app) feedTargets(cfg *feed.Config) error {
	folder, err := a.folder()
	if err != nil {
		return err
	}
	if cfg.Brokers, err = a.brokers(); err != nil {
		return err
	}
	cfg.BlobURL = os.Getenv("BLOB_URL")
	if cfg.BlobURL == "" {
		cfg.BlobURL = folder.BlobURL()
	}
	return nil
}

// brokers are those of KAFKA_BROKERS, or the broker of the lark up on the data folder.
func (a *app) brokers() ([]string, error) {
	if brokers := os.Getenv("KAFKA_BROKERS"); brokers != "" {
		return strings.Split(brokers, ","), nil
	}
	folder, err := a.folder()
	if err != nil {
		return nil, err
	}
	addr, err := folder.RunningBroker()
	if err != nil {
		return nil, err
	}
	return []string{addr}, nil
}

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lark/internal/ask"
	"github.com/larkstream/larkstream/lark/internal/topic"
	"github.com/larkstream/larkstream/shared/kafka"
)

// progressPeriod is how often a replay tells how far it is.
const progressPeriod = 2 * time.Second

func (a *app) topicCommand() *cobra.Command {
	var brokers []string
	cmd := &cobra.Command{
		Use: "topic", Short: "Dump a Kafka topic as JSON lines, or publish a dump again",
		Long: `Reads and writes topics with a Kafka client of another make than the pipeline's. The brokers are those of --brokers or
KAFKA_BROKERS, or the broker of the lark up on the data folder. TLS and the login are those of the environment, as for the services: KAFKA_TLS,
KAFKA_SASL_MECHANISM and so on.`,
		Example: "  lark topic dump lark.dead.v1 > dead.jsonl\n  lark topic replay dead.jsonl --topic lark.jobs.v1 --dry-run",
	}
	cmd.PersistentFlags().StringSliceVar(&brokers, "brokers", nil, "`addresses` of the brokers, host:port (env KAFKA_BROKERS)")
	find := func() ([]string, kafka.Security, error) { return a.brokers(brokers) }
	cmd.AddCommand(a.topicDump(find), a.topicReplay(find))
	return cmd
}

func (a *app) topicDump(brokers func() ([]string, kafka.Security, error)) *cobra.Command {
	cfg := topic.DumpConfig{Log: a.log}
	var from, to, key string
	cmd := &cobra.Command{
		Use: "dump TOPIC", Short: "Print the records of a topic, one JSON object a line", Args: cobra.ExactArgs(1),
		Long: `Prints each record as one JSON object: topic, partition, offset, time, key, headers, type, the decoded payload (or
decode_error), and raw, the value in base64, which lark topic replay publishes. Key and headers are strings, or
{"base64":"..."} where they are no text. raw null is a tombstone.

--from and --to take earliest, latest, an offset, a time (2026-11-28T15:04:05Z), or how long ago (90m). Without --follow, the
dump ends with what the topic held when it began, and reads one partition after another. The payload contains what users
asked and were answered: treat a dump as their data.`,
		Example: `  lark topic dump lark.dead.v1 > dead.jsonl
  lark topic dump lark.answers.v1 --from 10m --follow | jq -c .payload
  lark topic dump lark.jobs.v1 --key 4f963c6e-f750-58dd-aae1-ad31a6785f8d --max 1`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			cfg.Topic = args[0]
			if cmd.Flags().Changed("key") {
				cfg.Key = &key
			}
			now := time.Now()
			var faults [2]error
			cfg.From, faults[0] = topic.ParsePosition(from, now)
			cfg.To, faults[1] = topic.ParsePosition(to, now)
			if err := errors.Join(faults[:]...); err != nil {
				return usage(err)
			}
			if cfg.Follow && cmd.Flags().Changed("to") {
				return usage(errors.New("--follow has no end: leave --to out"))
			}
			if cfg.Max < 0 || cfg.Partition < topic.AllPartitions {
				return usage(errors.New("--max and --partition must not be negative"))
			}
			if cfg.Brokers, cfg.Security, err = brokers(); err != nil {
				return err
			}
			records, err := topic.Dump(cmd.Context(), cfg, a.Out)
			if err == nil || records > 0 {
				_, _ = fmt.Fprintf(a.Err, "%d records of %s\n", records, cfg.Topic)
			}
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "earliest", "`where` to begin in each partition")
	f.StringVar(&to, "to", "latest", "`where` to end in each partition; the record there is not printed")
	f.IntVar(&cfg.Partition, "partition", topic.AllPartitions, "only this `partition`; -1 is all")
	f.Int64Var(&cfg.Max, "max", 0, "end after so many `records`; 0 is no limit")
	f.BoolVar(&cfg.Follow, "follow", false, "go on with what is written, until Ctrl-C")
	f.StringVar(&key, "key", "", "only records with this `key`")
	f.BoolVar(&cfg.Raw, "raw", false, "do not decode: print raw alone")
	return cmd
}

func (a *app) topicReplay(brokers func() ([]string, kafka.Security, error)) *cobra.Command {
	var cfg topic.ReplayConfig
	var asJSON bool
	cmd := &cobra.Command{
		Use: "replay FILE|-", Short: "Publish the records of a dump again", Args: cobra.ExactArgs(1),
		Long: `Publishes the records of a dump again with the same key, headers and value; their time is now. A line that cannot be read or
whose record is of another topic than --topic is refused, and the others go on; the exit code is 0 only if no line was
refused. --to-topic sends the records to another topic than theirs.

After Ctrl-C or an error, the summary names the line to go on from: --from-line. Publishing a job or an outcome twice
changes nothing, because its id is the same.`,
		Example: `  lark topic replay jobs.jsonl --topic lark.jobs.v1 --dry-run
  lark topic replay jobs.jsonl --topic lark.jobs.v1 --rate 50
  lark topic dump lark.jobs.v1 --key JOB | lark topic replay - --topic lark.jobs.v1 --to-topic lark.jobs.copy.v1`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			switch {
			case cfg.Topic == "" && cfg.ToTopic == "":
				return usage(errors.New("give --topic, the topic of the records, or --to-topic, where to send records of every topic"))
			case cfg.Rate < 0 || cfg.FromLine < 1:
				return usage(errors.New("--rate must not be negative, and lines count from 1"))
			}
			input, err := a.open(args[0])
			if err != nil {
				return err
			}
			defer input.Close()
			cfg.Input = input
			if cfg.Brokers, cfg.Security, err = brokers(); err != nil {
				return err
			}
			return a.replay(cmd, cfg, asJSON)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Topic, "topic", "", "the only `topic` whose records are published; they go there unless --to-topic says else")
	f.StringVar(&cfg.ToTopic, "to-topic", "", "`topic` to send the records to")
	f.IntVar(&cfg.FromLine, "from-line", 1, "first `line` to publish")
	f.Float64Var(&cfg.Rate, "rate", 0, "at most so many `records` a second; 0 is no bound")
	f.BoolVar(&cfg.DryRun, "dry-run", false, "check every line and publish nothing")
	f.BoolVar(&asJSON, "json", false, "print one JSON object for each refused line and one for the whole")
	return cmd
}

// open opens a file to read; - is standard input.
func (a *app) open(name string) (io.ReadCloser, error) {
	if name == "-" {
		return io.NopCloser(a.In), nil
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("opening dump: %w", err)
	}
	return file, nil
}

func (a *app) replay(cmd *cobra.Command, cfg topic.ReplayConfig, asJSON bool) error {
	var printing error
	printJSON := func(v any) { printing = errors.Join(printing, json.NewEncoder(a.Out).Encode(v)) }
	cfg.Refused = func(line int, err error) {
		if asJSON {
			printJSON(map[string]any{"line": line, "state": "refused", "error": err.Error()})
			return
		}
		_, _ = fmt.Fprintf(a.Err, "line %d refused: %s\n", line, ask.Printable(err.Error()))
	}
	last := time.Now()
	cfg.Progress = func(t topic.ReplayTotals) {
		if now := time.Now(); !asJSON && now.Sub(last) >= progressPeriod {
			last = now
			_, _ = fmt.Fprintf(a.Err, "%d published, next is line %d\n", t.Published, t.NextLine)
		}
	}
	totals, err := topic.Replay(cmd.Context(), cfg)
	if asJSON {
		printJSON(struct {
			State string `json:"state"`
			topic.ReplayTotals
			DryRun bool `json:"dry_run"`
		}{map[bool]string{true: "done", false: "stopped"}[err == nil], totals, cfg.DryRun})
	} else {
		what := "published"
		if cfg.DryRun {
			what = "would be published"
		}
		a.printf("%d %s, %d refused", totals.Published, what, totals.Refused)
		if err != nil {
			a.printf("; go on with --from-line %d", totals.NextLine)
		}
		a.printf("\n")
	}
	if err := errors.Join(err, printing); err != nil {
		return err
	}
	if totals.Refused > 0 {
		return errSilent
	}
	return nil
}

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/ask"
)

func (a *app) deadCommand() *cobra.Command {
	var server serverFlags
	cmd := &cobra.Command{
		Use: "dead", Short: "List, show, send back and purge records that stages have given up",
		Long: `A record that a stage has given up is a dead letter: it stays for 30 days with the reason, and its questions have failed. Once the cause
is mended, redrive sends it back to the topic that it came from. Answers replace failed outcomes only in jobs whose owner allows it, by
lark jobs supersede.`,
		Example: "  lark dead list --reason engine_error --since 2h\n  lark dead redrive --reason engine_error --since 2h --dry-run",
	}
	server.register(cmd.PersistentFlags())
	cmd.AddCommand(a.deadList(&server), a.deadShow(&server), a.deadOrder(&server, "redrive"), a.deadOrder(&server, "purge"))
	return cmd
}

// deadFlags select dead letters.
type deadFlags struct {
	client.DeadFilter
	since, until string
}

func (d *deadFlags) register(f *pflag.FlagSet) {
	f.StringVar(&d.Reason, "reason", "", "only letters with this `code`, such as engine_error")
	f.StringVar(&d.Stage, "stage", "", "only letters of this `stage`: chunker, encoder, projector, llm or recorder")
	f.StringVar(&d.Job, "job", "", "only letters of this `job`")
	f.StringVar(&d.since, "since", "", "only letters since this `time` (RFC 3339), or for so long, such as 2h")
	f.StringVar(&d.until, "until", "", "only letters before this `time`, or older than that, such as 30m")
}

// filter reads the flags.
func (d *deadFlags) filter(now time.Time) (client.DeadFilter, error) {
	var faults [2]error
	d.Since, faults[0] = momentOf("--since", d.since, now)
	d.Until, faults[1] = momentOf("--until", d.until, now)
	return d.DeadFilter, usage(errors.Join(faults[:]...))
}

func momentOf(flag, text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if ago, err := time.ParseDuration(text); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, fmt.Errorf("%s %.40q is no time: give one such as 2026-11-28T15:04:05Z, or how long ago, such as 2h", flag, text)
	}
	return at, nil
}

func (a *app) deadList(server *serverFlags) *cobra.Command {
	var flags deadFlags
	var all, asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List dead letters, the oldest first", Args: cobra.NoArgs,
		Example: "  lark dead list --stage llm --since 24h\n  lark dead list --json | jq -r .reason | sort | uniq -c",
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := flags.filter(time.Now())
			if err != nil {
				return err
			}
			if limit < 1 {
				return usage(errors.New("--limit must be above 0"))
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			for cursor := ""; limit > 0; {
				page, err := gw.DeadLetters(cmd.Context(), filter, all, cursor, min(limit, maxPage))
				if err != nil {
					return err
				}
				for _, d := range page.Letters {
					if err := a.printLetter(d, asJSON); err != nil {
						return err
					}
				}
				if limit -= len(page.Letters); page.Next == nil {
					break
				}
				cursor = *page.Next
			}
			return nil
		},
	}
	flags.register(cmd.Flags())
	cmd.Flags().BoolVar(&all, "all", false, "also letters that were sent back or purged")
	cmd.Flags().IntVar(&limit, "limit", 100, "how many at most")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per letter, one per line")
	return cmd
}

func (a *app) printLetter(d client.DeadLetter, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(a.Out).Encode(d)
	}
	a.printf("%-10s %-8s  %s  %-9s %-20s %s  %s\n", d.ID, d.State, d.At.Local().Format(time.DateTime), ask.Printable(d.Stage),
		ask.Printable(d.Reason), ask.Printable(d.JobID), ask.Printable(d.Error))
	return nil
}

func (a *app) deadShow(server *serverFlags) *cobra.Command {
	return &cobra.Command{
		Use: "show LETTER", Short: "Show a dead letter with its record, as JSON", Args: cobra.ExactArgs(1),
		Example: "  lark dead show 0-17 | jq .payload",
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			d, err := gw.DeadLetter(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			enc := json.NewEncoder(a.Out)
			enc.SetIndent("", "  ")
			return enc.Encode(d)
		},
	}
}

// deadOrder is redrive or purge.
func (a *app) deadOrder(server *serverFlags, verb string) *cobra.Command {
	var flags deadFlags
	var order client.DeadOrder
	var asJSON bool
	short := map[string]string{
		"redrive": "Send dead letters back to the topics that they came from", "purge": "Hide dead letters for good, and delete them as far as the log allows",
	}[verb]
	cmd := &cobra.Command{
		Use: verb + " [LETTER...]", Short: short,
		Long: short + ". Letters are named, or selected by flags, or all with --everything." + map[string]string{"redrive": `
A record is sent back at most three times, and only if the owner of its job allows outcomes to be replaced. The exit code is 1 if a
letter was refused.`}[verb],
		Example: fmt.Sprintf("  lark dead %s --reason engine_error --since 2h --dry-run\n  lark dead %s 0-17 0-18\n  lark dead %s --job JOB --rate 5", verb, verb, verb),
		RunE: func(cmd *cobra.Command, args []string) error {
			filter, err := flags.filter(time.Now())
			if err != nil {
				return err
			}
			order.DeadFilter, order.IDs = filter, args
			if len(args) == 0 && filter == (client.DeadFilter{}) && !order.Everything {
				return usage(errors.New("name letters, select them by --reason, --stage, --job, --since or --until, or give --everything"))
			}
			if order.Rate < 0 || order.Rate > 1000 {
				return usage(errors.New("--rate must be between 0 and 1000"))
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			return a.runOrder(cmd, gw, verb, order, asJSON)
		},
	}
	flags.register(cmd.Flags())
	f := cmd.Flags()
	f.BoolVar(&order.Everything, "everything", false, "all letters")
	f.BoolVar(&order.DryRun, "dry-run", false, "tell what would be done and do nothing")
	f.Float64Var(&order.Rate, "rate", 0, "at most so many `letters` a second; 0 is 50")
	f.BoolVar(&asJSON, "json", false, "print one JSON object for each part of the work")
	return cmd
}

// runOrder repeats the order until all letters are done: the gateway does a bounded number at a time.
func (a *app) runOrder(cmd *cobra.Command, gw *client.Client, verb string, order client.DeadOrder, asJSON bool) error {
	done, refused := 0, 0
	do := map[string]string{"redrive": "sent back", "purge": "purged"}[verb]
	for {
		call := gw.Redrive
		if verb == "purge" {
			call = gw.Purge
		}
		result, err := call(cmd.Context(), order)
		if err != nil {
			return err
		}
		done, refused = done+result.Done, refused+len(result.Refused)
		if asJSON {
			if err := json.NewEncoder(a.Out).Encode(result); err != nil {
				return fmt.Errorf("printing result: %w", err)
			}
		} else {
			for _, r := range result.Refused {
				_, _ = fmt.Fprintf(a.Err, "%s refused (%s): %s\n", r.ID, r.Code, ask.Printable(r.Detail))
			}
		}
		if result.Next == nil {
			break
		}
		order.Cursor = *result.Next
	}
	if !asJSON {
		would := ""
		if order.DryRun {
			would = "would be "
		}
		a.printf("%d %s%s, %d refused\n", done, would, do, refused)
	}
	if refused > 0 {
		return errSilent
	}
	return nil
}

// jobsSupersede lets answers replace a job's failed outcomes.
func (a *app) jobsSupersede(server *serverFlags) *cobra.Command {
	return &cobra.Command{
		Use: "supersede JOB", Short: "Allow answers to replace a job's failed outcomes", Args: cobra.ExactArgs(1),
		Long: `Allows an answer to replace an outcome of the job that was given up. Without this, the first outcome of a question stands for ever, and
lark dead redrive refuses the job's records. The old outcome is kept: GET /v1/jobs/JOB/superseded.`,
		Example: "  lark jobs supersede 4f963c6e-f750-58dd-aae1-ad31a6785f8d",
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			job, err := gw.AllowSupersede(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			a.printf("%s  %s  failed outcomes may be replaced\n", job.ID, job.State)
			return nil
		},
	}
}

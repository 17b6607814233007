package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/ask"
	"github.com/larkstream/larkstream/shared/event"
)

// maxPage is the longest list that the gateway gives.
const maxPage = 100

func (a *app) jobsCommand() *cobra.Command {
	var server serverFlags
	cmd := &cobra.Command{
		Use: "jobs", Short: "List, show, cancel and delete jobs of a running gateway",
		Example: "  lark jobs list\n  lark jobs show 4f963c6e-f750-58dd-aae1-ad31a6785f8d",
	}
	server.register(cmd.PersistentFlags())
	cmd.AddCommand(a.jobsList(&server), a.jobsShow(&server), a.jobsCancel(&server), a.jobsDelete(&server), a.jobsSupersede(&server))
	return cmd
}

// gateway is the client of a gateway that runs already.
func (a *app) gateway(cmd *cobra.Command, server *serverFlags) (*client.Client, error) {
	if server.server != "" {
		gw, err := dial(server.server)
		return gw, usage(err)
	}
	folder, err := a.folder()
	if err != nil {
		return nil, err
	}
	_, running, err := folder.Running()
	switch {
	case err != nil:
		return nil, err
	case !running:
		return nil, fmt.Errorf("no lark up runs on %s: start one, or name a gateway with --server", folder)
	}
	url, err := runningGateway(cmd.Context(), folder)
	if err != nil {
		return nil, err
	}
	return dial(url)
}

// dial is the client of a gateway, with the token of the environment.
func dial(url string) (*client.Client, error) {
	gw, err := client.New(url, nil)
	if err != nil {
		return nil, err
	}
	return gw.WithToken(os.Getenv(client.EnvToken)), nil
}

func (a *app) jobsList(server *serverFlags) *cobra.Command {
	var asJSON bool
	var opts client.ListOptions
	var since, until string
	cmd := &cobra.Command{
		Use: "list", Short: "List jobs, newest first", Args: cobra.NoArgs,
		Example: "  lark jobs list --state failed --limit 100\n  lark jobs list --json | jq -r .id",
		RunE: func(cmd *cobra.Command, _ []string) error {
			var faults [3]error
			faults[0] = checkList(opts)
			opts.Since, faults[1] = momentOf("--since", since, time.Now())
			opts.Until, faults[2] = momentOf("--until", until, time.Now())
			if err := errors.Join(faults[:]...); err != nil {
				return usage(err)
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			list, err := gw.List(cmd.Context(), opts)
			if err != nil {
				return err
			}
			for _, job := range list.Jobs {
				if asJSON {
					if err := json.NewEncoder(a.Out).Encode(job); err != nil {
						return fmt.Errorf("printing job: %w", err)
					}
					continue
				}
				a.printf("%s  %-10s  %s  %d/%d  %s\n", job.ID, job.State, job.CreatedAt.Local().Format(time.DateTime),
					job.Counts.Answered, job.Counts.Expected, ask.Printable(job.Audio.Name))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&opts.State, "state", "", "only jobs in this `state`")
	cmd.Flags().StringVar(&opts.Lane, "lane", "", "only jobs of this `lane`: interactive or bulk")
	cmd.Flags().StringVar(&opts.Label, "label", "", "only jobs with this label, `name=value`")
	cmd.Flags().StringVar(&since, "since", "", "only jobs made since this `time` (RFC 3339), or for so long, such as 2h")
	cmd.Flags().StringVar(&until, "until", "", "only jobs made before this `time`, or longer ago, such as 30m")
	cmd.Flags().IntVar(&opts.Limit, "limit", 20, "how many, at most 100")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per job, one per line")
	return cmd
}

// checkList refuses what the gateway would refuse, before a gateway is looked for.
func checkList(opts client.ListOptions) error {
	states := []string{
		client.StateQueued, client.StateRunning, client.StateCancelling, client.StateSucceeded, client.StatePartial, client.StateFailed, client.StateCancelled,
	}
	switch {
	case opts.State != "" && !slices.Contains(states, opts.State):
		return fmt.Errorf("--state %.40q is not known: it is one of %s", opts.State, strings.Join(states, ", "))
	case opts.Lane != "" && !slices.Contains(event.Lanes(), opts.Lane):
		return fmt.Errorf("--lane %.40q is not known: it is one of %s", opts.Lane, strings.Join(event.Lanes(), ", "))
	case opts.Label != "" && !strings.Contains(opts.Label, "="):
		return fmt.Errorf("--label %.40q is not name=value", opts.Label)
	case opts.Limit < 1 || opts.Limit > maxPage:
		return fmt.Errorf("--limit must be between 1 and %d", maxPage)
	}
	return nil
}

func (a *app) jobsShow(server *serverFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show JOB", Short: "Show a job and its outcomes", Args: cobra.ExactArgs(1),
		Example: "  lark jobs show 4f963c6e-f750-58dd-aae1-ad31a6785f8d --json | jq -r '.outcomes[].answer'",
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			job, err := gw.Get(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			outcomes, err := gw.Outcomes(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(a.Out).Encode(map[string]any{"job": job, "outcomes": outcomes})
			}
			a.showJob(job, outcomes)
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func (a *app) showJob(job client.Job, outcomes []client.Outcome) {
	c := job.Counts
	a.printf("job      %s  %s\n", job.ID, job.State)
	if job.Lane != "" {
		a.printf("lane     %s\n", job.Lane)
	}
	a.printf("track    %s  %s, %.1f s\n", job.Audio.SHA256, ask.Printable(job.Audio.Name), job.Audio.DurationS)
	a.printf("windows  %d, embeddings known of %d\n", c.Windows, c.CacheHits)
	a.printf("answers  %d of %d, %d failed, %d cancelled\n", c.Answered, c.Expected, c.Failed, c.Cancelled)
	a.printf("cost     %.1f s of audio, %.1f s of encoder, %d and %d tokens%s\n", job.Cost.AudioS, job.Cost.EncoderS, job.Cost.PromptTokens, job.Cost.OutputTokens, amount(job.Cost))
	if job.TraceID != "" {
		a.printf("trace    %s\n", job.TraceID)
	}
	if len(outcomes) > 0 {
		a.printf("\n")
		ask.Print(a.Out, job, outcomes)
	}
}

// amount is a cost's amount, where there are prices.
func amount(c client.Cost) string {
	if c.Amount == nil {
		return ""
	}
	return fmt.Sprintf(", %g %s", *c.Amount, ask.Printable(c.Currency))
}

func (a *app) jobsCancel(server *serverFlags) *cobra.Command {
	return &cobra.Command{
		Use: "cancel JOB", Short: "Cancel a job", Args: cobra.ExactArgs(1),
		Example: "  lark jobs cancel 4f963c6e-f750-58dd-aae1-ad31a6785f8d",
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			job, err := gw.Cancel(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			a.printf("%s  %s\n", job.ID, job.State)
			return nil
		},
	}
}

func (a *app) jobsDelete(server *serverFlags) *cobra.Command {
	return &cobra.Command{
		Use: "delete JOB...", Short: "Delete jobs that have ended, with their outcomes", Args: cobra.MinimumNArgs(1),
		Example: "  lark jobs delete 4f963c6e-f750-58dd-aae1-ad31a6785f8d\n  lark jobs list --state failed --json | jq -r .id | xargs lark jobs delete",
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			for _, id := range args {
				if err := gw.Delete(cmd.Context(), id); err != nil {
					return err
				}
				a.printf("%s  deleted\n", id)
			}
			return nil
		},
	}
}

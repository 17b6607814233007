package cli

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/ask"
)

func (a *app) jobsCommand() *cobra.Command {
	var server serverFlags
	cmd := &cobra.Command{Use: "jobs", Short: "List, show and cancel jobs of a running gateway"}
	server.register(cmd.PersistentFlags())
	cmd.AddCommand(a.jobsList(&server), a.jobsShow(&server), a.jobsCancel(&server))
	return cmd
}

// gateway is the client of a gateway that runs already.
func (a *app) gateway(cmd *cobra.Command, server *serverFlags) (*client.Client, error) {
	url := server.server
	if url == "" {
		folder, err := a.folder()
		if err != nil {
			return nil, err
		}
		if _, running, err := folder.Running(); err != nil || !running {
			return nil, fmt.Errorf("no lark up runs on %s: start one, or name a gateway with --server", folder)
		}
		if url, err = runningGateway(cmd.Context(), folder); err != nil {
			return nil, err
		}
	}
	return client.New(url, nil)
}

func (a *app) jobsList(server *serverFlags) *cobra.Command {
	var asJSON bool
	var opts client.ListOptions
	cmd := &cobra.Command{
		Use: "list", Short: "List jobs, newest first", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
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
	cmd.Flags().IntVar(&opts.Limit, "limit", 20, "how many")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per job, one per line")
	return cmd
}

func (a *app) jobsShow(server *serverFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "show JOB", Short: "Show a job and its outcomes", Args: cobra.ExactArgs(1),
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
	a.printf("track    %s  %s, %.1f s\n", job.Audio.SHA256, ask.Printable(job.Audio.Name), job.Audio.DurationS)
	a.printf("windows  %d, embeddings known of %d\n", c.Windows, c.CacheHits)
	a.printf("answers  %d of %d, %d failed, %d cancelled\n", c.Answered, c.Expected, c.Failed, c.Cancelled)
	if job.TraceID != "" {
		a.printf("trace    %s\n", job.TraceID)
	}
	if len(outcomes) > 0 {
		a.printf("\n")
		ask.Print(a.Out, job, outcomes)
	}
}

func (a *app) jobsCancel(server *serverFlags) *cobra.Command {
	return &cobra.Command{
		Use: "cancel JOB", Short: "Cancel a job", Args: cobra.ExactArgs(1),
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

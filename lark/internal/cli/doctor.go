package cli

import (
	"encoding/json"
	"os"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lark/internal/doctor"
)

func (a *app) doctorCommand() *cobra.Command {
	var asJSON bool
	cfg := doctor.Config{Env: os.Getenv}
	cmd := &cobra.Command{
		Use: "doctor", Short: "Look for what is missing", Args: cobra.NoArgs,
		Long: `Looks at this machine and its configuration: processor and kernels, ffmpeg, the model bundle and its digests, the data
folder, disk space, the gateway's address, and Kafka, Redis and the blob store where the environment names them.
The exit code is 0 unless something would not work.`,
		Example: "  lark doctor\n  lark doctor --json | jq '.findings[] | select(.state == \"fail\")'",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Data, err = a.folder(); err != nil {
				return err
			}
			findings := doctor.Run(cmd.Context(), cfg)
			if asJSON {
				err = json.NewEncoder(a.Out).Encode(map[string]any{"healthy": doctor.Healthy(findings), "findings": findings})
			} else {
				a.printFindings(findings)
			}
			if err == nil && !doctor.Healthy(findings) {
				return errSilent
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	cmd.Flags().StringVar(&cfg.Addr, "addr", defaultAddr, "the gateway's `address`, as for lark up")
	cmd.Flags().StringVar(&cfg.ModelDir, "model", "", "model bundle `folder`, as for lark up")
	return cmd
}

func (a *app) printFindings(findings []doctor.Finding) {
	for _, f := range findings {
		a.printf("%-4s  %-9s  %s\n", f.State, f.Check, f.Detail)
		if f.Remedy != "" {
			a.printf("                 to do: %s\n", f.Remedy)
		}
	}
}

package cli

import (
	"encoding/json"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lark/internal/modelcheck"
	"github.com/larkstream/larkstream/lark/internal/terminal"
)

func (a *app) checkCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "check FOLDER", Short: "Test a bundle on this machine", Args: cobra.ExactArgs(1),
		Long: `Tests a bundle of any kind on the processor, up to the first fault: the memory that it needs, before anything is loaded (the estimate counts one window
and the default budget of keys and values); the digests of its files; that it loads; that the frames of a tone are finite, the same twice, and others than those
of drums; that a question is answered the same twice. Tells the speed of encoder and decoder, and what it means for this machine.
A model that does not fit is not loaded. The exit code is 0 unless something failed.`,
		Example: "  lark model check omni\n  lark model check models/lark-nano --json | jq .speed",
		RunE: func(cmd *cobra.Command, args []string) error {
			b := &bar{line: terminal.Of(a.Err), start: time.Now()}
			report, err := modelcheck.Run(cmd.Context(), modelcheck.Config{
				Dir: args[0], NativeDir: os.Getenv("LARK_NATIVE_DIR"), Available: modelcheck.Available(), Log: a.log,
				Progress: func(done, total int64) { b.show(time.Now(), done, total) },
			})
			b.line.Clear()
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(a.Out).Encode(report)
			} else {
				a.printf("%s\n", report.Model)
				a.printFindings(report.Findings)
			}
			if err == nil && !report.Healthy {
				return errSilent
			}
			return err
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

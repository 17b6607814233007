package cli

import (
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lab/eval/importer"
)

func (a *app) evalImportCommand() *cobra.Command {
	var from, out string
	cmd := &cobra.Command{
		Use: "import COLLECTION", Short: "Make a set of a public collection", Args: cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs), ValidArgs: importer.Names(),
		Long: `Makes a set for lark eval out of a public collection that lies on this machine as it is distributed. Audio is not copied: the set names the
files where they lie. What is left out (rows without audio, without a label, or that cannot be read) is counted.

Collections: ` + strings.Join(importer.Names(), ", ") + ` (manifest: lark-nano's generated clips).
Where each is found and how its folder must look is in docs/evaluation.md.`,
		Example: `  lark eval import gtzan --from ~/datasets/gtzan --out sets/gtzan
  lark eval import giantsteps-key --from ~/datasets/giantsteps-key-dataset --out sets/giantsteps-key
  lark eval --set sets/gtzan --tasks genre,grounding --out gtzan.json`,
		RunE: func(_ *cobra.Command, args []string) error {
			if from == "" || out == "" {
				return usage(errors.New("--from names the collection's folder and --out the set's: both are needed"))
			}
			result, err := importer.Import(args[0], from, out)
			if err != nil {
				return err
			}
			a.printf("%s: %d clips; %s\n", out, result.Clips, result.Reasons())
			return nil
		},
	}
	cmd.Flags().StringVar(&from, "from", "", "`folder` into which the collection was unpacked")
	cmd.Flags().StringVar(&out, "out", "", "`folder` for the set")
	return cmd
}

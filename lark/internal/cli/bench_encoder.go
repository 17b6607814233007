package cli

import (
	"encoding/json"
	"errors"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lark/internal/bench"
)

func (a *app) benchEncoder() *cobra.Command {
	var cfg bench.EncoderConfig
	var asJSON bool
	cmd := &cobra.Command{
		Use: "encoder --model FOLDER", Short: "Measure a Jukebox encoder part by part", Args: cobra.NoArgs,
		Long: `Encodes one clip and prints, in processor time, what each part of the work took, its rate, and that rate as a share of what the
processor reaches on operands in its first-level cache, measured before and after in the same run. A random bundle costs what
the real one costs. With --layers the rest is extrapolated.`,
		Example: "  lark model random jukebox --preset 5b --out random-5b\n  lark bench encoder --model random-5b --layers 3",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.ModelDir == "" || cfg.Layers < 0 || cfg.Seconds <= 0 || cfg.Seconds > 60 {
				return usage(errors.New("--model is needed; --layers must not be below 0, --seconds be above 0 and at most 60"))
			}
			report, err := bench.RunEncoder(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(a.Out).Encode(report)
			}
			report.Write(a.Out)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.ModelDir, "model", "", "`folder` of the bundle")
	f.Float64Var(&cfg.Seconds, "seconds", 25, "seconds of audio, of which the encoder hears its span")
	f.IntVar(&cfg.Layers, "layers", 0, "layers to run, from the first (default all)")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

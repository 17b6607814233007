package cli

import (
	"encoding/json"
	"errors"
	"slices"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lab/bench"
)

func (a *app) benchPrecisions() *cobra.Command {
	var cfg bench.PrecisionsConfig
	var asJSON bool
	cmd := &cobra.Command{
		Use: "precisions --model FOLDER", Short: "Measure the error of a Jukebox encoder's precisions", Args: cobra.NoArgs,
		Long: `Encodes one clip in every precision and prints how far the frames are from those of f32, behind several numbers of layers: the
length of a frame's difference as a share of its length, the median and the worst of all frames.`,
		Example: "  lark model random jukebox --preset 5b --out random-5b\n  lark bench precisions --model random-5b",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.ModelDir == "" || cfg.Seconds < 0.1 || cfg.Seconds > 60 || len(cfg.Depths) == 0 || slices.Min(cfg.Depths) < 1 {
				return usage(errors.New("--model is needed; --seconds must be between 0.1 and 60, --depths be above 0"))
			}
			report, err := bench.RunPrecisions(cmd.Context(), cfg)
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
	f.Float64Var(&cfg.Seconds, "seconds", 2.4, "seconds of audio, of which the encoder hears its span")
	f.IntSliceVar(&cfg.Depths, "depths", []int{3, 6, 12, 24, 36}, "numbers of layers behind which frames are compared")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

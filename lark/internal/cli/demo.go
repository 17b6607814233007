package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lark/internal/demo"
	"github.com/larkstream/larkstream/lark/internal/up"
)

func (a *app) demoCommand() *cobra.Command {
	var modelDir string
	cmd := &cobra.Command{
		Use: "demo", Short: "Show the main job on a piece that comes with lark", Args: cobra.NoArgs,
		Long: `Starts everything in a data folder of its own, asks about a bundled piece of music whose score is known, prints answers,
timings and the way through the stages, asks a new question about the same track, which must not reach the encoder
again, and stops.`,
		Example: `  lark demo`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			dir, err := os.MkdirTemp("", "lark-demo-")
			if err != nil {
				return fmt.Errorf("making a data folder: %w", err)
			}
			defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
			model, err := up.FindModel(modelDir, up.Folder(dir))
			if err != nil {
				return err
			}
			piece, err := demo.PieceFolder(model)
			if err != nil {
				return err
			}
			stack, err := a.embedded(cmd.Context(), up.Folder(dir), model)
			if err != nil {
				return err
			}
			defer a.stop(cmd.Context(), stack)
			gw, err := dial(stack.GatewayURL())
			if err != nil {
				return err
			}
			return demo.Run(cmd.Context(), gw, demo.Config{
				Piece: piece, Out: a.Out, EncoderMetrics: "http://" + stack.Place(up.Encoder).HTTPAddr + "/metrics",
			})
		},
	}
	cmd.Flags().StringVar(&modelDir, "model", "", "model bundle `folder`; the piece is in demo beside it")
	return cmd
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lab/bench"
	"github.com/larkstream/larkstream/lark/internal/demo"
)

func (a *app) benchCache() *cobra.Command {
	var cfg bench.CacheConfig
	var asJSON bool
	cmd := &cobra.Command{
		Use: "cache [AUDIO...]", Short: "Measure how small and how fast embeddings are stored",
		Long: `Encodes the windows of the audio files (default: the bundled piece) and prints, for every number format and codec of the cache,
the bytes of a window's embedding and the processor time to store and to read it.`,
		Example: `  lark bench cache
  lark bench cache --windows 2 music/*.ogg
  lark model random jukebox --preset 5b --out random-5b && lark bench cache --model random-5b --windows 1 --layers 6`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if cfg.Windows < 0 || cfg.Layers < 0 || cfg.Rounds < 1 {
				return usage(errors.New("--windows and --layers must not be below 0, --rounds be above 0"))
			}
			if cfg.Tracks = args; len(args) == 0 {
				if cfg.Tracks, err = a.demoPiece(cmd.Context()); err != nil {
					return err
				}
			}
			if cfg.ModelDir == "" {
				folder, err := a.folder()
				if err != nil {
					return err
				}
				if cfg.ModelDir, err = checkedModel(cmd.Context(), "", folder); err != nil {
					return err
				}
			}
			cfg.Progress = func(what string) { _, _ = fmt.Fprintln(a.Err, what) }
			report, err := bench.RunCache(cmd.Context(), cfg)
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
	f.StringVar(&cfg.ModelDir, "model", "", "`folder` of the bundle, which may have an encoder alone (default: as for lark up)")
	f.IntVar(&cfg.Windows, "windows", 0, "windows of each file; 0 is all")
	f.IntVar(&cfg.Layers, "layers", 0, "layers of a Jukebox encoder to run, from the first (default all)")
	f.IntVar(&cfg.Rounds, "rounds", 20, "rounds of storing and reading, of which the mean is taken")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

// demoPiece is the bundled piece of music.
func (a *app) demoPiece(ctx context.Context) ([]string, error) {
	folder, err := a.folder()
	if err != nil {
		return nil, err
	}
	nano, err := checkedModel(ctx, "", folder)
	if err != nil {
		return nil, err
	}
	piece, err := demo.PieceFolder(nano)
	return []string{filepath.Join(piece, "larksong.mp3")}, err
}

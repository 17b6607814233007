package cli

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/jukeboxbundle"
	"github.com/larkstream/larkstream/lark/internal/terminal"
)

func (a *app) modelCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "model", Short: "Make model bundles of published weights, or of random ones",
		Long:    `Makes bundles, the folders with weights and model.yaml that --model and LARK_MODEL_DIR name.`,
		Example: "  lark model import jukebox --vqvae vqvae.pth.tar --prior prior_level_2.pth.tar --out jukebox-5b",
	}
	importCmd := &cobra.Command{Use: "import", Short: "Make a bundle of published weights", Example: "  lark model import llama --hf llark-7b --encoder jukebox-5b --out llark"}
	importCmd.AddCommand(a.importJukeboxCommand(), a.importLlamaCommand(), a.importAudioCommand())
	randomCmd := &cobra.Command{Use: "random", Short: "Make a bundle of random weights, for benchmarks", Example: "  lark model random llama --preset tiny --out random-llama"}
	randomCmd.AddCommand(a.randomJukeboxCommand(), a.randomLlamaCommand(), a.randomAudioCommand())
	exportCmd := &cobra.Command{Use: "export", Short: "Make a bundle of another bundle", Example: "  lark model export gguf --model models/lark-nano --out nano-gguf"}
	exportCmd.AddCommand(a.exportGGUFCommand())
	cmd.AddCommand(importCmd, randomCmd, exportCmd, a.encodeCommand(), a.traceCommand(), a.checkCommand())
	return cmd
}

func (a *app) importJukeboxCommand() *cobra.Command {
	var cfg jukeboxbundle.ImportConfig
	cmd := &cobra.Command{
		Use: "jukebox --vqvae FILE --prior FILE --out FOLDER", Short: "Import Jukebox's encoder", Args: cobra.NoArgs,
		Long: `Reads the checkpoints vqvae.pth.tar and prior_level_2.pth.tar of Jukebox "5b" as they were published, zip checkpoints of
PyTorch, or safetensors with the names of Hugging Face, and writes a bundle with the encoder that LLark listens with.
Nothing in the files is executed. Every name, shape and value is checked. An interrupted import is continued by the same
command.`,
		Example: "  lark model import jukebox --vqvae vqvae.pth.tar --prior prior_level_2.pth.tar --out jukebox-5b",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.VQVAE == "" || cfg.Prior == "" || cfg.Out == "" {
				return usage(errors.New("--vqvae, --prior and --out are needed"))
			}
			return a.makeBundle(cmd.Context(), cfg.Out, func(ctx context.Context, p func(done, total int64)) (model.Manifest, error) {
				return jukeboxbundle.Import(ctx, cfg, p)
			})
		},
	}
	cmd.Flags().StringVar(&cfg.VQVAE, "vqvae", "", "checkpoint `file` of the VQ-VAE")
	cmd.Flags().StringVar(&cfg.Prior, "prior", "", "checkpoint `file` of the top-level prior")
	cmd.Flags().StringVar(&cfg.Out, "out", "", "`folder` of the bundle")
	cmd.Flags().StringVar(&cfg.Name, "name", "", "`name` of the bundle (default that of the encoder)")
	cmd.Flags().IntVar(&cfg.Layers, "layers", 36, "layers of the prior to take, from the first")
	cmd.Flags().IntVar(&cfg.Heads, "heads", 8, "heads of the attention")
	cmd.Flags().IntVar(&cfg.Blocks, "blocks", 128, "blocks into which the attention cuts the context")
	return cmd
}

func (a *app) randomJukeboxCommand() *cobra.Command {
	var cfg jukeboxbundle.RandomConfig
	cmd := &cobra.Command{
		Use: "jukebox --out FOLDER", Short: "Make an encoder of Jukebox's shape", Args: cobra.NoArgs,
		Long: `Writes a bundle with an encoder of Jukebox's shape and random weights: it costs what the real one costs, and what it hears
means nothing. The bundle and every answer's model name say so.`,
		Example: "  lark model random jukebox --preset 5b --out random-5b",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Out == "" {
				return usage(errors.New("--out is needed"))
			}
			return a.makeBundle(cmd.Context(), cfg.Out, func(ctx context.Context, p func(done, total int64)) (model.Manifest, error) {
				return jukeboxbundle.Random(ctx, cfg, p)
			})
		},
	}
	cmd.Flags().StringVar(&cfg.Preset, "preset", "tiny", "sizes: 5b (5.2 GB) or tiny (5 MB)")
	cmd.Flags().Uint64Var(&cfg.Seed, "seed", 1, "equal seeds give equal weights")
	cmd.Flags().StringVar(&cfg.Out, "out", "", "`folder` of the bundle")
	return cmd
}

// makeBundle runs make with a progress bar on a terminal, and tells what it made.
func (a *app) makeBundle(ctx context.Context, dir string, make func(ctx context.Context, progress func(done, total int64)) (model.Manifest, error)) error {
	b := &bar{line: terminal.Of(a.Err), start: time.Now()}
	m, err := make(ctx, func(done, total int64) { b.show(time.Now(), done, total) })
	b.line.Clear()
	if err != nil {
		return err
	}
	digest := m.Encoder.SHA256
	if !m.EncoderOnly() {
		digest = m.LLM.SHA256
	}
	a.printf("%s: %s, sha256 %.16s, %s in %s\n", dir, m.Name, digest, size(b.total), time.Since(b.start).Round(time.Second/10))
	return nil
}

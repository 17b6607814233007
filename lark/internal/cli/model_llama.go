package cli

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/llamabundle"
	"github.com/larkstream/larkstream/engine/native/llama"
)

func (a *app) importLlamaCommand() *cobra.Command {
	var cfg llamabundle.ImportConfig
	quant := "bf16"
	cmd := &cobra.Command{
		Use: "llama (--hf FOLDER | --gguf FILE) [--projector FILE] [--encoder FOLDER] --out FOLDER", Short: "Import a Llama-2-style model such as LLark's", Args: cobra.NoArgs,
		Long: `Reads the Hugging Face folder of a Llama-2-style model (config.json; weights as safetensors or PyTorch shards; tokenizer.model or
tokenizer.json; added tokens) and writes a bundle whose decoder is a GGUF file for llama.cpp, with LLark's prompt. The projector
model.mm_projector lies in the folder's weights or in a file of its own. Nothing in the files is executed. Every name, shape and value
is checked. An interrupted import is continued by the same command.

--gguf takes a file that llama.cpp reads as it is. Without --encoder, --out must hold an encoder, such as lark model import jukebox writes.`,
		Example: `  lark model import jukebox --vqvae vqvae.pth.tar --prior prior_level_2.pth.tar --out jukebox-5b
  lark model import llama --hf llark-7b --encoder jukebox-5b --out llark --quant q8_0`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if (cfg.Folder == "") == (cfg.GGUF == "") || cfg.Out == "" {
				return usage(errors.New("--out, and either --hf or --gguf are needed"))
			}
			if cfg.GGUF == "" {
				cfg.Quant = quant
			} else if cmd.Flags().Changed("quant") {
				return usage(errors.New("--gguf takes a file as it is, so it goes without --quant"))
			}
			if cfg.Quantize, err = a.quantizer(cfg.Quant); err != nil {
				return err
			}
			return a.makeBundle(cmd.Context(), cfg.Out, func(ctx context.Context, p func(done, total int64)) (model.Manifest, error) {
				return llamabundle.Import(ctx, cfg, p)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Folder, "hf", "", "`folder` of a Hugging Face model")
	f.StringVar(&cfg.GGUF, "gguf", "", "GGUF `file` to take as it is")
	f.StringVar(&cfg.Projector, "projector", "", "`file` with the projector: safetensors or a PyTorch checkpoint (default the folder's weights)")
	f.StringVar(&cfg.Encoder, "encoder", "", "`folder` of the bundle whose encoder is linked or copied")
	f.StringVar(&cfg.Out, "out", "", "`folder` of the bundle")
	f.StringVar(&cfg.Name, "name", "", "`name` of the bundle (default that of the folder or file)")
	f.StringVar(&quant, "quant", quant, quantHelp)
	return cmd
}

const quantHelp = "type of the matrices: bf16, q8_0, q4_k_m (by llama.cpp's libraries), f16 or f32"

func (a *app) randomLlamaCommand() *cobra.Command {
	var cfg llamabundle.RandomConfig
	cmd := &cobra.Command{
		Use: "llama --out FOLDER", Short: "Make a decoder of Llama-2's shape", Args: cobra.NoArgs,
		Long: `Writes a bundle with a decoder of Llama-2's shape, random weights and a vocabulary that is made up: it costs what the real one costs,
and its answers mean nothing. The bundle and every answer's model name say so.`,
		Example: "  lark model random llama --preset 7b --quant q8_0 --out random-7b",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Out == "" {
				return usage(errors.New("--out is needed"))
			}
			if cfg.Quantize, err = a.quantizer(cfg.Quant); err != nil {
				return err
			}
			return a.makeBundle(cmd.Context(), cfg.Out, func(ctx context.Context, p func(done, total int64)) (model.Manifest, error) {
				return llamabundle.Random(ctx, cfg, p)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Preset, "preset", "tiny", "sizes: 7b (7 GB in q8_0) or tiny")
	f.Uint64Var(&cfg.Seed, "seed", 1, "equal seeds give equal weights")
	f.StringVar(&cfg.Quant, "quant", "q8_0", quantHelp)
	f.StringVar(&cfg.Encoder, "encoder", "", "`folder` of the bundle whose encoder is linked or copied (default a small random Jukebox)")
	f.StringVar(&cfg.Out, "out", "", "`folder` of the bundle")
	return cmd
}

func (a *app) exportGGUFCommand() *cobra.Command {
	var cfg llamabundle.ExportConfig
	cmd := &cobra.Command{
		Use: "gguf --model FOLDER --out FOLDER", Short: "Make a bundle whose decoder runs on llama.cpp", Args: cobra.NoArgs,
		Long:    `Writes a bundle with the same encoder, projector, tokenizer and prompt, and the same decoder as a GGUF file.`,
		Example: "  lark model export gguf --model models/lark-nano --out nano-gguf",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if cfg.Model == "" || cfg.Out == "" {
				return usage(errors.New("--model and --out are needed"))
			}
			if cfg.Quantize, err = a.quantizer(cfg.Quant); err != nil {
				return err
			}
			return a.makeBundle(cmd.Context(), cfg.Out, func(ctx context.Context, p func(done, total int64)) (model.Manifest, error) {
				return llamabundle.Export(ctx, cfg, p)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Model, "model", "", "`folder` of a bundle whose decoder is in safetensors, such as lark-nano")
	f.StringVar(&cfg.Quant, "quant", "f32", quantHelp)
	f.StringVar(&cfg.Out, "out", "", "`folder` of the new bundle")
	return cmd
}

// quantizer is what makes the quantisation if llama.cpp's libraries are needed for it, else nil. It is asked for before any work is done.
func (a *app) quantizer(quant string) (llamabundle.Quantize, error) {
	if quant != llamabundle.Q4KM {
		return nil, nil
	}
	library, err := llama.Open(os.Getenv("LARK_NATIVE_DIR"), a.log)
	if err != nil {
		return nil, fmt.Errorf("preparing %s: %w", quant, err)
	}
	return func(_ context.Context, in, out string) error {
		return library.Quantize(in, out, llama.QuantizeOptions{Type: llama.FileQ4_K_M})
	}, nil
}

package cli

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
)

func (a *app) importAudioCommand() *cobra.Command {
	var cfg audiobundle.ImportConfig
	quant := "bf16"
	cmd := &cobra.Command{
		Use: "audio-llm (--llm FILE --mmproj FILE | --hf FOLDER) --out FOLDER", Short: "Import Qwen2.5-Omni, Qwen2-Audio, Audio Flamingo 3 or Music Flamingo", Args: cobra.NoArgs,
		Long: `Makes a bundle of a pair of GGUF files as they are published for llama.cpp (the decoder, and the encoder with its projector), or of a Hugging Face
folder. Every name, shape and value is checked, and the first that is wrong is named. An interrupted import is continued by the same command.

Music Flamingo and Audio Flamingo 3 may only be used non-commercially: --accept-licence says that you have read their licence; the bundle and every
answer name it. docs/models.md lists what to download.`,
		Example: `  lark model import audio-llm --llm Qwen2.5-Omni-7B-Q4_K_M.gguf --mmproj mmproj-Qwen2.5-Omni-7B-f16.gguf --out omni
  lark model import audio-llm --hf music-flamingo-2601-hf --quant q8_0 --accept-licence --out flamingo`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			pair := cfg.LLM != "" && cfg.MMProj != ""
			if cfg.Out == "" || pair == (cfg.Folder != "") {
				return usage(errors.New("--out, and either --llm and --mmproj or --hf are needed"))
			}
			if pair && cmd.Flags().Changed("quant") {
				return usage(errors.New("a GGUF file is taken as it is, so it goes without --quant"))
			}
			if !pair {
				cfg.Quant = quant
			}
			if cfg.Quantize, err = a.quantizer(cfg.Quant); err != nil {
				return err
			}
			err = a.makeBundle(cmd.Context(), cfg.Out, func(ctx context.Context, p func(done, total int64)) (model.Manifest, error) {
				return audiobundle.Import(ctx, cfg, p)
			})
			if err != nil {
				return err
			}
			b, err := model.Read(cfg.Out)
			if err != nil {
				return err
			}
			a.printf("family: %s; licence: %s\n", b.Encoder.ID, b.Licence)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.LLM, "llm", "", "GGUF `file` of the decoder")
	f.StringVar(&cfg.MMProj, "mmproj", "", "GGUF `file` of the encoder and its projector")
	f.StringVar(&cfg.Folder, "hf", "", "`folder` of a Hugging Face model")
	f.StringVar(&cfg.Family, "family", "", "`name` of the family where the files do not tell it: qwen2.5-omni, qwen2-audio, audio-flamingo-3 or music-flamingo")
	f.BoolVar(&cfg.AcceptLicence, "accept-licence", false, "you have read the model's non-commercial licence and may use it")
	f.StringVar(&cfg.Out, "out", "", "`folder` of the bundle")
	f.StringVar(&cfg.Name, "name", "", "`name` of the bundle (default that of the folder or file)")
	f.StringVar(&quant, "quant", quant, quantHelp)
	return cmd
}

func (a *app) randomAudioCommand() *cobra.Command {
	var cfg audiobundle.RandomConfig
	cmd := &cobra.Command{
		Use: "audio-llm --preset NAME --out FOLDER", Short: "Make a model of the shape of Qwen2.5-Omni or Music Flamingo", Args: cobra.NoArgs,
		Long: `Writes a bundle with encoder, projector and decoder of a published model's shape, random weights and a vocabulary that is made up: it costs what the
real one costs, and its answers mean nothing. The bundle and every answer's model name say so. The preset tiny takes any --family.`,
		Example: `  lark model random audio-llm --preset tiny --family music-flamingo --out tiny
  lark model random audio-llm --preset qwen2.5-omni-7b --quant q8_0 --out random-omni`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.Out == "" {
				return usage(errors.New("--out is needed"))
			}
			return a.makeBundle(cmd.Context(), cfg.Out, func(ctx context.Context, p func(done, total int64)) (model.Manifest, error) {
				return audiobundle.Random(ctx, cfg, p)
			})
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Preset, "preset", "tiny", "sizes: "+strings.Join(audiobundle.Presets(), ", "))
	f.StringVar(&cfg.Family, "family", "", "`name` of the family of the preset tiny: "+strings.Join(audiobundle.FamilyNames(), ", ")+" (default qwen2.5-omni)")
	f.Uint64Var(&cfg.Seed, "seed", 1, "equal seeds give equal weights")
	f.StringVar(&cfg.Quant, "quant", "q8_0", "type of the decoder's matrices: bf16, q8_0, f16 or f32")
	f.StringVar(&cfg.EncoderQuant, "encoder-quant", "bf16", "type of the encoder's matrices: bf16, q8_0, f16 or f32")
	f.IntVar(&cfg.Layers, "layers", 0, "layers of the decoder (default: the preset's)")
	f.StringVar(&cfg.Out, "out", "", "`folder` of the bundle")
	return cmd
}

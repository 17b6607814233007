package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/lab/bench"
)

func (a *app) benchAudioLLM() *cobra.Command {
	cfg := bench.AudioLLMConfig{Decoder: true}
	var asJSON, noDecoder bool
	var peer string
	cmd := &cobra.Command{
		Use: "audio-llm --model FOLDER", Short: "Measure a model with an encoder of Whisper's kind, beside PyTorch and a bare loop", Args: cobra.NoArgs,
		Long: `Encodes one window, each time in a process of its own and every precision and the peer in turns, and prints processor time, wall time,
memory and how far the frames are from the first precision's. Then measures the decoder with the frames of one window: tokens a
second beside a bare loop of llama_decode, and what it saves to ask all questions on a window at once. A random bundle costs
what the real one costs; the rate of a decoder with fewer --layers is not that of the whole one, the ratio to the loop nearly is.`,
		Example: `  lark model random audio-llm --preset qwen2.5-omni-7b --quant q8_0 --layers 4 --out random-omni
  lark bench audio-llm --model random-omni --peer "python training/peers/whisper_torch.py"`,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := checkBenchAudioLLM(cfg); err != nil {
				return usage(err)
			}
			if cfg.Executable, err = os.Executable(); err != nil {
				return fmt.Errorf("finding own binary: %w", err)
			}
			cfg.Peer, cfg.Log, cfg.NativeDir, cfg.Decoder = strings.Fields(peer), a.Err, os.Getenv("LARK_NATIVE_DIR"), !noDecoder
			cfg.Progress = func(what string) { _, _ = fmt.Fprintln(a.Err, what) }
			report, err := bench.RunAudioLLM(cmd.Context(), cfg)
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
	f.StringSliceVar(&cfg.Precisions, "precision", bench.Precisions(), "precisions of the encoder, of which the first is what frames are compared with; \"\" measures no encoder")
	f.StringVar(&peer, "peer", "", "`command` of another implementation of the encoder, e.g. python training/peers/whisper_torch.py")
	f.Float64Var(&cfg.Seconds, "seconds", 30, "seconds of audio")
	f.IntVar(&cfg.Rounds, "rounds", 3, "rounds, of which medians are taken")
	f.IntVar(&cfg.Tokens, "tokens", 24, "tokens of every answer")
	f.IntVar(&cfg.Sequences, "sequences", 8, "answers decoded together")
	f.IntVar(&cfg.Threads, "threads", 0, "threads of the decoder; 0: all processors")
	f.BoolVar(&noDecoder, "no-decoder", false, "measure the encoder only")
	f.StringVar(&cfg.Scratch, "scratch", "", "`folder` for 6 MB of temporary files (default: the system's)")
	f.BoolVar(&asJSON, "json", false, "print one JSON object, every run included")
	return cmd
}

func checkBenchAudioLLM(cfg bench.AudioLLMConfig) error {
	if cfg.ModelDir == "" || cfg.Rounds < 1 || cfg.Tokens < 2 || cfg.Sequences < 2 || cfg.Sequences > 16 || cfg.Threads < 0 || cfg.Seconds < 1 || cfg.Seconds > 30 {
		return errors.New("--model is needed; --rounds must be above 0, --tokens above 1, --sequences between 2 and 16, --threads not below 0, --seconds between 1 and 30")
	}
	return checkPrecisions(cfg.Precisions)
}

// benchClip is one window in a process of its own.
func (a *app) benchClip() *cobra.Command {
	var cfg bench.ClipConfig
	cmd := &cobra.Command{
		Use: "clip", Short: "Encode a clip with an encoder of Whisper's kind", Args: cobra.NoArgs, Hidden: true,
		Example: "  lark bench clip --model random-omni --audio clip.f32",
		RunE: func(cmd *cobra.Command, _ []string) error {
			run, err := bench.RunClip(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return json.NewEncoder(a.Out).Encode(run)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.ModelDir, "model", "", "bundle `folder`")
	f.StringVar((*string)(&cfg.Precision), "precision", string(tensor.BF16), "arithmetic of products")
	f.StringVar(&cfg.Audio, "audio", "", "`file` of float32 samples at 16 kHz")
	f.StringVar(&cfg.Frames, "frames", "", "`file` for the frames")
	return cmd
}

package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lab/bench"
)

func (a *app) benchLLM() *cobra.Command {
	var cfg bench.LLMConfig
	var asJSON bool
	cmd := &cobra.Command{
		Use: "llm --model FOLDER", Short: "Measure the decoder on llama.cpp beside a bare loop", Args: cobra.NoArgs,
		Long: `Measures, in turns and each with the model to itself, how many tokens a second the engine gives for one answer and for several at
once, beside a bare loop of llama_decode over the same prompts; what it saves to ask all questions on a window at once; and
what the scheduler takes of a step. A random bundle costs what the real one costs.`,
		Example: "  lark model random llama --preset 7b --quant q8_0 --out random-7b\n  lark bench llm --model random-7b",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.ModelDir == "" || cfg.Rounds < 1 || cfg.Tokens < 2 || cfg.Frames < 1 || cfg.Sequences < 2 || cfg.Sequences > 16 || cfg.Threads < 0 {
				return usage(errors.New("--model is needed; --rounds and --frames must be above 0, --tokens above 1, --sequences between 2 and 16, --threads not below 0"))
			}
			cfg.NativeDir = os.Getenv("LARK_NATIVE_DIR")
			cfg.Progress = func(what string) { _, _ = fmt.Fprintln(a.Err, what) }
			report, err := bench.RunLLM(cmd.Context(), cfg)
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
	f.IntVar(&cfg.Rounds, "rounds", 3, "rounds, of which medians are taken")
	f.IntVar(&cfg.Tokens, "tokens", 24, "tokens of every answer")
	f.IntVar(&cfg.Frames, "frames", 240, "frames of the soft prompt")
	f.IntVar(&cfg.Sequences, "sequences", 8, "answers decoded together")
	f.IntVar(&cfg.Threads, "threads", 0, "threads of engine and loop; 0: all processors")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

func (a *app) benchSoak() *cobra.Command {
	var cfg bench.SoakConfig
	var asJSON bool
	cmd := &cobra.Command{
		Use: "soak --model FOLDER", Short: "Keep a decoder busy with random requests and look for leaks", Args: cobra.NoArgs,
		Long: `Asks random questions about random windows, cancels some requests midway and gives others deadlines that they miss. In every pause it
waits for the last answer and looks at what the idle decoder still holds of positions, sequences and promises: anything is an error.`,
		Example: "  lark model random llama --preset tiny --out random-llama\n  lark bench soak --model random-llama --duration 1h",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if cfg.ModelDir == "" || cfg.Duration <= 0 || cfg.Pause <= 0 || cfg.Clients < 1 || cfg.Rate < 0 || cfg.Threads < 0 {
				return usage(errors.New("--model is needed; --duration, --pause and --clients must be above 0, --rate and --threads not below"))
			}
			cfg.NativeDir = os.Getenv("LARK_NATIVE_DIR")
			cfg.Progress = func(c bench.SoakCount) { c.Write(a.Err) }
			report, err := bench.RunSoak(cmd.Context(), cfg)
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
	f.DurationVar(&cfg.Duration, "duration", time.Hour, "how long")
	f.DurationVar(&cfg.Pause, "pause", time.Minute, "time between looks at the idle decoder")
	f.IntVar(&cfg.Clients, "clients", 12, "requests at the same time")
	f.Float64Var(&cfg.Rate, "rate", 0, "requests a second of each client; 0: as fast as answers come")
	f.IntVar(&cfg.Threads, "threads", 0, "threads of the decoder; 0: all processors")
	f.Uint64Var(&cfg.Seed, "seed", 1, "equal seeds give equal requests")
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	return cmd
}

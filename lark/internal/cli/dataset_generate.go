package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lab/dataset"
	"github.com/larkstream/larkstream/lab/dataset/llm"
	"github.com/larkstream/larkstream/lab/dataset/rules"
)

// generateFlags are what lark dataset generate is told.
type generateFlags struct {
	stepFlags
	dataset.GenerateConfig

	rules    bool
	wordings string
	model    dataset.LLMConfig
}

func (a *app) datasetGenerateCommand() *cobra.Command {
	var flags generateFlags
	cmd := &cobra.Command{
		Use: "generate SET", Short: "Make pairs of question and answer for every clip", Args: cobra.ExactArgs(1),
		Long: `Makes pairs of question and answer out of what is known of each clip, by rules (the default: no model is needed) or by a language model behind an
OpenAI-compatible API (--llm; its key is $LARK_LLM_KEY). Each pair is checked against the clip: every number, key, chord, instrument, genre and name of
an answer must be known or follow from what is known. Rejected pairs are kept with their reason.

Families: understanding, captioning (rules: only clips with captions that people wrote), reasoning (language models only). What the model was
asked, its replies, tokens and cost are kept. --max-cost is for all runs of the set together. docs/dataset.md says how to write system texts of your own.`,
		Example: `  lark dataset generate sets/music
  lark dataset generate sets/music --llm http://127.0.0.1:8000/v1 --model qwen2.5-72b --families understanding,captioning,reasoning --jobs 32
  lark dataset generate sets/music --llm https://api.example.com/v1 --model small --price-in 0.15 --price-out 0.6 --max-cost 50 --per-minute 500`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := flags.prepare(cmd); err != nil {
				return err
			}
			return a.generate(cmd.Context(), args[0], &flags)
		},
	}
	f := cmd.Flags()
	flags.add(f, 4)
	f.BoolVar(&flags.rules, "rules", false, "make pairs by rules (the default without --llm)")
	f.StringSliceVar(&flags.Families, "families", []string{rules.Understanding}, "`names` of families, by commas")
	f.Uint64Var(&flags.Seed, "seed", 1, "seed of the rules' wordings")
	f.StringVar(&flags.wordings, "wordings", "", "JSON `file` of wordings for the rules (default: built in)")
	f.StringVar(&flags.model.URL, "llm", "", "base `URL` of an OpenAI-compatible API")
	f.StringVar(&flags.model.Model, "model", "", "`name` of the language model")
	f.StringVar(&flags.model.Prompts, "prompts", "", "`folder` of system texts (default: built in)")
	f.Float64Var(&flags.model.Temperature, "temperature", 0.7, "temperature of the language model")
	f.IntVar(&flags.model.MaxTokens, "max-tokens", 2000, "most tokens of a reply")
	f.IntVar(&flags.model.PerMinute, "per-minute", 0, "most requests a minute (default: no bound)")
	f.IntVar(&flags.model.Tries, "tries", 5, "how often a request is sent that fails for a reason that may pass")
	f.Float64Var(&flags.model.Price.Input, "price-in", 0, "price of a million tokens that are sent")
	f.Float64Var(&flags.model.Price.Output, "price-out", 0, "price of a million tokens that come back")
	f.Float64Var(&flags.model.MaxCost, "max-cost", 0, "stop before more is spent (default: no bound)")
	return cmd
}

func (f *generateFlags) prepare(cmd *cobra.Command) error {
	switch {
	case f.rules && f.model.URL != "":
		return usage(errors.New("of --rules and --llm only one can be given"))
	case f.model.URL != "" && f.model.Model == "":
		return usage(errors.New("--llm needs the name of a model: --model"))
	case f.model.URL == "" && (f.model.Model != "" || f.model.Prompts != "" || f.model.MaxCost != 0):
		return usage(errors.New("--model, --prompts and --max-cost are for language models: name one with --llm"))
	case f.model.MaxCost > 0 && f.model.Price == (llm.Price{}):
		return usage(errors.New("--max-cost needs --price-in or --price-out: without a price nothing costs anything"))
	}
	if f.model.URL != "" {
		f.model.Key = os.Getenv("LARK_LLM_KEY")
		if _, err := llm.New(f.model.Config); err != nil {
			return usage(err)
		}
		f.LLM = &f.model
	}
	if f.wordings == "" {
		return nil
	}
	raw, err := os.ReadFile(f.wordings)
	if err != nil {
		return err
	}
	f.Wordings = json.RawMessage(raw)
	_, err = rules.New(f.Seed, raw)
	return err
}

func (a *app) generate(ctx context.Context, dir string, flags *generateFlags) error {
	set, end, err := a.begin(dir, "generate", &flags.stepFlags)
	if err != nil {
		return err
	}
	flags.GenerateConfig.RunOptions = flags.stepFlags.RunOptions
	got, err := dataset.Generate(ctx, set, flags.GenerateConfig)
	end()
	if flags.json {
		return errors.Join(err, json.NewEncoder(a.Out).Encode(got))
	}
	a.printf("generate: %d clips, %d of them done before; %d failed, %d without audio\n", got.Clips, got.Kept, got.Failed, got.Missing)
	a.printf("pairs: %d accepted, %d rejected%s\n", got.Accepted, got.Rejected, brackets(got.Reasons()))
	if got.Cost > 0 {
		a.printf("cost: %.4f\n", got.Cost)
	}
	return err
}

func brackets(text string) string {
	if text == "" {
		return ""
	}
	return fmt.Sprintf(" (%s)", text)
}

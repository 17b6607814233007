package cli

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lab/eval"
	"github.com/larkstream/larkstream/lark/internal/up"
)

func (a *app) evalCommand() *cobra.Command {
	var cfg eval.Config
	var asJSON bool
	var answers string
	cmd := &cobra.Command{
		Use: "eval DIR|manifest.jsonl", Short: "Measure a model on labelled music", Args: cobra.ExactArgs(1),
		Long: `Asks the model about labelled clips and scores its answers, each figure beside what the best constant answer scores on the
same clips. The engines run in this process; text is generated freely, one greedy answer to one wording of every question.

The manifest has a JSON object per line: file (relative to the manifest), tempo_bpm, key, mode, metre, families, drums.`,
		Example: "  lark eval training/data/test --limit 300",
		RunE: func(cmd *cobra.Command, args []string) error {
			cfg.Data = args[0]
			return a.eval(cmd, cfg, asJSON, answers)
		},
	}
	f := cmd.Flags()
	f.BoolVar(&asJSON, "json", false, "print one JSON object")
	f.IntVar(&cfg.Limit, "limit", 0, "only the first clips (default: all)")
	f.StringVar(&cfg.ModelDir, "model", "", "model bundle `folder`, as for lark up")
	f.StringVar(&cfg.Questions, "questions", "", "JSON `file` of wordings by kind (default: wordings held back from lark-nano's training)")
	f.StringVar(&answers, "answers", "", "`file` to write every clip's label and answers to, a JSON object per line")
	return cmd
}

func (a *app) eval(cmd *cobra.Command, cfg eval.Config, asJSON bool, answers string) error {
	folder, err := a.folder()
	if err != nil {
		return err
	}
	if cfg.ModelDir, err = up.FindModel(cfg.ModelDir, folder); err != nil {
		return err
	}
	if answers != "" {
		file, err := os.Create(answers)
		if err != nil {
			return fmt.Errorf("making answers file: %w", err)
		}
		defer file.Close()
		cfg.Answers = file
	}
	if isTerminal(a.Err) {
		cfg.Progress = func(done, of int) { _, _ = fmt.Fprintf(a.Err, "\r\x1b[K%d of %d clips", done, of) }
		defer func() { _, _ = fmt.Fprint(a.Err, "\r\x1b[K") }()
	}
	report, err := eval.Run(cmd.Context(), cfg)
	if err != nil {
		return err
	}
	if asJSON {
		return json.NewEncoder(a.Out).Encode(report)
	}
	eval.WriteTable(a.Out, report)
	return nil
}

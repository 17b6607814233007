package cli

import (
	"encoding/json"
	"errors"
	"io"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lab/eval"
)

func (a *app) evalCompareCommand() *cobra.Command {
	var out, html string
	cmd := &cobra.Command{
		Use: "compare [NAME=]REPORT [NAME=]REPORT...", Short: "Lay reports of several models beside each other", Args: cobra.MinimumNArgs(2),
		Long: `Lays reports that lark eval wrote beside each other: a column a model, a line a figure, with the best constant answer and engine/mir. Behind
each figure but the first model's stand how many answers score higher and lower than the first model's. The reports must be of the same questions about the same clips: the same set,
--seed, --limit and --questions. A report is called as its file, or NAME.`,
		Example: `  lark eval compare all=run/eval.json half=run-50/eval.json tenth=run-10/eval.json --out ablation.json --html ablation.html`,
		RunE: func(_ *cobra.Command, args []string) error {
			var reports []eval.NamedReport
			for _, arg := range args {
				name, path, named := strings.Cut(arg, "=")
				if !named {
					name, path = strings.TrimSuffix(filepath.Base(arg), filepath.Ext(arg)), arg
				}
				if name == "" || path == "" {
					return usage(errors.New(arg + " is no NAME=FILE"))
				}
				report, err := eval.ReadReport(path)
				if err != nil {
					return err
				}
				reports = append(reports, eval.NamedReport{Name: name, Report: report})
			}
			comparison, err := eval.Compare(reports)
			if err != nil {
				return err
			}
			if out != "" {
				err = writeWhole(out, func(w io.Writer) error {
					enc := json.NewEncoder(w)
					enc.SetIndent("", " ")
					return enc.Encode(comparison)
				})
			}
			if err == nil && html != "" {
				err = writeWhole(html, func(w io.Writer) error { return eval.WriteComparisonPage(w, comparison) })
			}
			if err != nil {
				return err
			}
			eval.WriteComparison(a.Out, comparison)
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "`file` for the comparison, JSON")
	cmd.Flags().StringVar(&html, "html", "", "`file` for the comparison as a page that needs no other file")
	return cmd
}

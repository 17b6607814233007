package cli

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lark/internal/ask"
	"github.com/larkstream/larkstream/lark/internal/index"
	"github.com/larkstream/larkstream/lark/internal/terminal"
)

func (a *app) indexDiff(server *serverFlags) *cobra.Command {
	var asJSON, fail bool
	var examples int
	cmd := &cobra.Command{
		Use: "diff RUN_A RUN_B", Short: "Show what changed between two runs", Args: cobra.ExactArgs(2),
		Long: `Compares what two runs have answered about items of the same ids: tags by field, free text by question. RUN_A is the earlier one. Answers of the whole track are
compared, or else those of each window. Instruments and moods are compared as sets. Items that only one run has, and items that only one run has answered about,
are told too. What cannot be compared is counted: items that have not ended, answers that were deleted, other questions or windows.

With --fail-on-change the exit code is 1 if anything differs or could not be compared.`,
		Example: `  lark index diff albums-may albums-june
  lark index diff albums-may albums-june --json | jq '.fields[] | select(.changed > 0) | {field, changed, compared}'
  lark index diff golden-answers candidate --fail-on-change --examples 0`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if examples < 0 || examples > 1000 {
				return usage(errors.New("--examples must be between 0 and 1000"))
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			line := terminal.Of(a.Err)
			d, err := index.DiffRuns(cmd.Context(), gw, args[0], args[1], examples, func(n int) { line.Draw(fmt.Sprintf("%d items compared", n)) })
			line.Clear()
			if err != nil {
				return err
			}
			if asJSON {
				if err := json.NewEncoder(a.Out).Encode(d); err != nil {
					return fmt.Errorf("printing difference: %w", err)
				}
			} else {
				a.printDiff(d)
			}
			if fail && d.Counts.Differing()+d.Counts.NotCompared() > 0 {
				return errSilent
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the difference as JSON")
	cmd.Flags().BoolVar(&fail, "fail-on-change", false, "exit with 1 if anything differs or could not be compared")
	cmd.Flags().IntVar(&examples, "examples", 3, "how many items are shown of each field and kind of difference")
	return cmd
}

func (a *app) printDiff(d index.Diff) {
	c := d.Counts
	a.printf("%s -> %s\n", d.Before, d.After)
	a.printf("  same %d, changed %d, answered no more %d, answered now %d, answered in neither %d, only before %d, only after %d\n",
		c.Same, c.Changed, c.Lost, c.Gained, c.Failed, c.OnlyBefore, c.OnlyAfter)
	if c.NotCompared()+c.Skipped > 0 {
		a.printf("  not compared: skipped as unchanged %d, not ended %d, answers deleted %d, other questions or windows %d\n", c.Skipped, c.Open, c.Gone, c.Unlike)
	}
	for _, f := range d.Fields {
		if f.Changed == 0 {
			continue
		}
		a.printf("%s: %d of %d\n", ask.Printable(cmp.Or(f.Question, f.Field)), f.Changed, f.Compared)
		for _, e := range f.Examples {
			where := e.ID
			if e.Window != nil {
				where += fmt.Sprintf(", window %d", *e.Window)
			}
			if e.AudioChanged {
				where += ", other audio"
			}
			a.printf("  %s: %s -> %s\n", ask.Printable(where), valueText(e.Before), valueText(e.After))
		}
	}
	for _, it := range d.Items {
		text := strings.ReplaceAll(it.Kind, "_", " ") + ": " + it.ID
		if it.Code != "" {
			text += " (" + it.Code + ")"
		}
		a.printf("%s\n", ask.Printable(text))
	}
}

// valueText is a value of a field in one line.
func valueText(v any) string {
	switch v := v.(type) {
	case nil:
		return "not told"
	case []any:
		texts := make([]string, len(v))
		for i, x := range v {
			texts[i] = fmt.Sprint(x)
		}
		return ask.Printable(strings.Join(texts, ", "))
	}
	return ask.Printable(strings.Join(strings.Fields(fmt.Sprint(v)), " "))
}

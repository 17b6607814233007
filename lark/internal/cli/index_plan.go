package cli

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lark/internal/ask"
	"github.com/larkstream/larkstream/lark/internal/index"
	"github.com/larkstream/larkstream/lark/internal/terminal"
)

func (a *app) indexPlan(server *serverFlags) *cobra.Command {
	var f askFlags
	var read string
	cmd := &cobra.Command{
		Use: "plan SOURCE [QUESTION…]", Short: "Tell what a run would meet, take and cost, and spend nothing", Args: cobra.MinimumNArgs(1),
		Long: `Has the gateway look at the items of SOURCE where they lie: lengths and formats by the headers, what cannot be read, windows, what is known of them already,
and what the rest would take by the rates that were measured here. No run is made, and no model works.

Files are read whole, for their digests, until --read bytes have been read; of the items behind that only headers are read. Digests find duplicates and what
earlier jobs have left. Two files count as the same sound if they are of one format and the samples of wav, the frames of mp3, or the sum of the samples that
flac carries are equal; other formats are compared by bytes. Nothing is decoded.`,
		Example: `  lark index plan ~/Music --tags
  lark index plan s3://lib/masters --tags --plan all --sample 1% --json
  lark index plan catalogue.csv "What key is this in?" --read 0
  lark index plan catalogue.csv --tags --changed-since albums --read all`,
		RunE: func(cmd *cobra.Command, args []string) error {
			sample, err := f.take(args)
			if err != nil {
				return err
			}
			most, err := byteCount(read)
			if err != nil {
				return usage(err)
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			line := terminal.Of(a.Err)
			p := index.Planning{Asked: f.sub, ReadBytes: most}
			p.Gateway, p.Share, p.Seed, p.Progress = gw, sample, f.seed, func(n int) { line.Draw(fmt.Sprintf("%d items looked at", n)) }
			plan, err := p.Run(cmd.Context(), index.Source{Name: args[0], Input: a.In, AllFiles: f.allFiles})
			line.Clear()
			if err != nil {
				return err
			}
			if f.asJSON {
				if err := json.NewEncoder(a.Out).Encode(plan); err != nil {
					return fmt.Errorf("printing plan: %w", err)
				}
				return nil
			}
			a.tellFilled(index.Filled{Bad: plan.Bad, BadLines: plan.BadLines, Left: plan.Left, LeftOut: plan.LeftOut})
			a.printPlan(plan)
			return nil
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().StringVar(&read, "read", "16GB", "`bytes` of files that are read whole, for their digests: such as 500MB or 2GB; 0 = headers only, all = every file")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print the plan as JSON")
	return cmd
}

// byteCount reads 0, 500MB, 2GB, 1TB or all, which is -1.
func byteCount(text string) (int64, error) {
	if text == "all" {
		return -1, nil
	}
	number, unit := strings.TrimRight(strings.ToUpper(text), "KMGTB"), int64(1)
	for i, suffix := range []string{"KB", "MB", "GB", "TB"} {
		if strings.ToUpper(text) == number+suffix {
			for range i + 1 {
				unit *= 1000
			}
		}
	}
	n, err := strconv.ParseFloat(number, 64)
	if err != nil || !(n >= 0 && n*float64(unit) < 1<<62) || (unit == 1 && number != text) {
		return 0, fmt.Errorf("--read %.20q is no number of bytes, such as 0, 500MB, 2GB or all", text)
	}
	return int64(n * float64(unit)), nil
}

func (a *app) printPlan(p index.Plan) {
	a.printf("items %d: %d to do, %d unchanged, %d would fail\n", p.Items, p.Good, p.Unchanged, p.Items-p.Good-p.Unchanged)
	for _, code := range slices.SortedFunc(maps.Keys(p.Failing), func(x, y string) int { return p.Failing[y] - p.Failing[x] }) {
		a.printf("  %6d  %s\n", p.Failing[code], ask.Printable(code))
		for _, e := range p.Examples[code] {
			a.printf("          %s: %s\n", ask.Printable(e.ID), ask.Printable(e.Message))
		}
	}
	var formats []string
	for _, name := range slices.Sorted(maps.Keys(p.Formats)) {
		formats = append(formats, fmt.Sprintf("%d %s", p.Formats[name], ask.Printable(name)))
	}
	a.printf("audio %s in %.1f GB: %s\n", seconds(p.AudioS), float64(p.Bytes)/1e9, strings.Join(formats, ", "))
	say := func(n int, what string) {
		if n > 0 {
			a.printf("  %6d  %s\n", n, what)
		}
	}
	say(p.NeedFFmpeg, "are decoded by ffmpeg, which the chunker needs for them")
	say(p.EstimatedLength, "have lengths that were estimated by their bit rates")
	say(p.NoLength, "have headers that tell no length; they count as long as the others")
	say(p.NotRead, "were not read whole (--read): their duplicates and what is known of them were not looked for")
	say(p.Repeated, "have an id that came before: a run leaves them out, the other figures count them")
	say(p.SameBytes, "are the same file as another item, byte for byte")
	say(p.SameSound, "are the same sound as another item, in another file")
	if p.Windows == 0 && p.Good > 0 {
		a.printf("windows are not known: the gateway has no model bundle (LARK_MODEL_DIR), or no header tells a length\n")
		return
	}
	a.printf("windows %d, of which %d are encoded already; answers %d, of which %d are kept already\n", p.Windows, p.WindowsKnown, p.Answers, p.AnswersKnown)
	if p.Estimate == nil {
		if p.Good > 0 {
			a.printf("no estimate: nothing was answered here by this model yet; try lark index run … --sample 1%% and plan again\n")
		}
		return
	}
	a.printf("measured over %d windows and %d answers: %.3g s of encoder each window, %.3g s of decoder and %.0f + %.0f tokens each answer\n",
		p.Rates.Windows, p.Rates.Answers, p.Rates.EncoderS, p.Rates.DecoderS, p.Rates.PromptTokens, p.Rates.OutputTokens)
	a.printf("estimate: encoder %s, decoder %s, %.0f tokens in, %.0f out%s\n", seconds(p.Estimate.EncoderS), seconds(p.Estimate.DecoderS),
		p.Estimate.PromptTokens, p.Estimate.OutputTokens, priceOf(p.Estimate.Amount, p.Estimate.Currency))
	w := p.Estimate.Without
	a.printf("  re-used: encoder %s, decoder %s\n", seconds(w.EncoderS-p.Estimate.EncoderS), seconds(w.DecoderS-p.Estimate.DecoderS))
	if p.Rates.Prices == nil {
		a.printf("  no price: the operator has configured none (prices)\n")
	}
}

func priceOf(n *float64, currency string) string {
	if n == nil {
		return ""
	}
	return fmt.Sprintf(", %.2f %s", *n, ask.Printable(currency))
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}

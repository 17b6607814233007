package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/larkstream/larkstream/gateway/client"
	"github.com/larkstream/larkstream/lark/internal/ask"
	"github.com/larkstream/larkstream/lark/internal/index"
	"github.com/larkstream/larkstream/lark/internal/terminal"
)

// errPartial ends a command with exitPartial: a run has ended, and not every item has succeeded. It has been told.
var errPartial = errors.New("not every item has succeeded")

func (a *app) indexCommand() *cobra.Command {
	var server serverFlags
	cmd := &cobra.Command{
		Use: "index", Short: "Index catalogues: ask the same questions about many tracks",
		Long: `A run asks the same questions about each track of a catalogue. Its items are read where they lie, in places that the gateway and the chunker allow
(LARK_SOURCES; a lark up on loopback without authentication allows every file that its user can read). The gateway keeps a bounded number of items in hand and
goes on after any interruption; what is known of a track is not computed again.

A SOURCE is a folder, an s3:// or gs:// prefix, a manifest (.csv, .jsonl, .parquet with the columns id, uri or path, sha256 and whatever else shall come back
with the results), or - for a manifest on standard input. Items may be files, objects in buckets and https:// URLs. A RUN is an id or a name.`,
		Example: `  lark index plan ~/Music --tags
  lark index run ~/Music --name albums --tags
  lark index status albums
  lark index export albums --format parquet --out albums-tags
  lark index verify albums --export albums-tags
  lark index report albums --out albums.html
  lark index diff albums albums-2
  lark index similar albums 'Artist/Album/01 Song.flac'`,
	}
	server.register(cmd.PersistentFlags())
	cmd.AddCommand(a.indexPlan(&server), a.indexRun(&server), a.indexList(&server), a.indexStatus(&server), a.indexMove(&server, "pause", "Start no more items of a run; items in hand go on"),
		a.indexMove(&server, "resume", "Go on with a paused run"), a.indexMove(&server, "cancel", "Cancel a run"), a.indexRetry(&server),
		a.indexExport(&server), a.indexVerify(&server), a.indexReport(&server), a.indexWriteTags(&server),
		a.indexDiff(&server), a.indexSimilar(&server))
	return cmd
}

// askFlags say what a run asks, and of which items of a source.
type askFlags struct {
	sub         client.RunSubmission
	maxFailures string
	sample      string
	seed        uint64
	tags        bool
	allFiles    bool
	pinModel    bool
	asJSON      bool
}

// runFlags are the flags of lark index run.
type runFlags struct {
	askFlags
	detach bool
}

func (f *askFlags) register(flags *pflag.FlagSet) {
	flags.BoolVar(&f.tags, "tags", false, "ask for structured tags: tempo, key, mode, metre, instruments, genre, mood, description")
	flags.StringVar(&f.sub.Plan, "plan", "auto", "windows of each track: `auto` (one) or all")
	flags.StringVar(&f.sub.Plan, "windows", "auto", "as --plan")
	older(flags, "windows", "use --plan")
	flags.BoolVar(&f.sub.Combine, "combine", false, "with several windows, one answer of the whole track more")
	flags.BoolVar(&f.sub.Strict, "strict", false, "refuse damaged tracks")
	flags.StringVar(&f.sample, "sample", "", "take only this `share` of the items, chosen by their ids, e.g. 1%")
	flags.Uint64Var(&f.seed, "seed", 1, "of --sample")
	flags.StringVar(&f.sub.ChangedSince, "changed-since", "", "skip what has succeeded in this `run` and not changed since")
	flags.BoolVar(&f.allFiles, "all-files", false, "take every file of a folder or prefix, not only those named like audio")
}

// take reads SOURCE and QUESTIONS, and returns the share of the items that is taken.
func (f *askFlags) take(args []string) (sample float64, err error) {
	f.sub.Questions = args[1:]
	if f.tags {
		f.sub.ResponseSchema = client.SchemaTags
	}
	if len(f.sub.Questions) == 0 && !f.tags {
		return 0, usage(errors.New("nothing is asked: give questions, or --tags"))
	}
	if f.sub.MaxFailures, err = share("--max-failures", f.maxFailures); err != nil {
		return 0, usage(err)
	}
	if sample, err = share("--sample", f.sample); err != nil {
		return 0, usage(err)
	}
	return sample, nil
}

func (a *app) indexRun(server *serverFlags) *cobra.Command {
	var f runFlags
	cmd := &cobra.Command{
		Use: "run SOURCE [QUESTION…]", Short: "Create a run and follow it", Args: cobra.MinimumNArgs(1),
		Long: `Creates a run over the items of SOURCE, starts it and follows it to its end. Ctrl-C stops following; the run goes on.

The exit code is 0 if every item succeeded or was skipped, 3 if some did not, 1 if none did or the run was cancelled or paused itself.`,
		Example: `  lark index run ~/Music --tags
  lark index run catalogue.csv "What key is this in?" --plan all --combine --name keys --max-failures 5%
  lark index run s3://lib/masters --tags --sample 1% --detach
  lark index run s3://lib/masters --tags --max-cost 250 --changed-since masters-in-May
  find /music -name '*.flac' | jq -R '{uri:.}' -c | lark index run - --tags`,
		RunE: func(cmd *cobra.Command, args []string) error {
			sample, err := f.take(args)
			if err != nil {
				return err
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			if f.pinModel {
				models, err := gw.Models(cmd.Context())
				if err != nil {
					return err
				}
				if len(models) != 1 {
					return fmt.Errorf("--pin-model: the gateway tells of %d models", len(models))
				}
				f.sub.ModelDigest = models[0].Digest
			}
			return a.index(cmd.Context(), gw, index.Source{Name: args[0], Input: a.In, AllFiles: f.allFiles}, sample, f)
		},
	}
	flags := cmd.Flags()
	f.register(flags)
	flags.StringVar(&f.sub.Name, "name", "", "`name` by which the run can be named")
	flags.StringVar(&f.maxFailures, "max-failures", "", "pause when more than this `share` of the items has failed, e.g. 5%")
	flags.Float64Var(&f.sub.MaxCost, "max-cost", 0, "start no more items and pause when this `amount` is spent, by the prices of the operator")
	flags.Float64Var(&f.sub.MaxAudioS, "max-audio-s", 0, "pause when the items have had more `seconds` of audio")
	flags.BoolVar(&f.pinModel, "pin-model", false, "only the model that the gateway serves now may answer")
	flags.BoolVar(&f.detach, "detach", false, "print the run's id and do not follow it")
	flags.BoolVar(&f.asJSON, "json", false, "print the run as JSON at the end")
	return cmd
}

// share reads 5% or 0.05; "" is 0.
func share(flag, text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	number, percent := strings.CutSuffix(text, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v > 0 && v <= 1) {
		return 0, fmt.Errorf("%s %.20q is no share above 0 and up to 1, such as 5%% or 0.05", flag, text)
	}
	return v, nil
}

// index fills a run, starts it and follows it.
func (a *app) index(ctx context.Context, gw *client.Client, src index.Source, sample float64, f runFlags) error {
	run, err := gw.CreateRun(ctx, f.sub)
	if err != nil {
		return err
	}
	line := terminal.Of(a.Err)
	filled, err := index.Filling{Gateway: gw, Share: sample, Seed: f.seed, Progress: func(n int) { line.Draw(fmt.Sprintf("%d items added", n)) }}.Fill(ctx, run.ID, src)
	line.Clear()
	a.tellFilled(filled)
	if err == nil && filled.Items == 0 {
		err = fmt.Errorf("%s has no items that can be taken", src.Name)
	}
	if err != nil { // a run that was not filled never starts
		drop, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		_, dropErr := gw.MoveRun(drop, run.ID, "cancel")
		return errors.Join(err, dropErr)
	}
	if run, err = gw.MoveRun(ctx, run.ID, "start"); err != nil {
		return err
	}
	if f.detach {
		a.printf("%s\n", run.ID)
		return nil
	}
	_, _ = fmt.Fprintf(a.Err, "run %s: %d items\n", run.ID, filled.Items)
	return a.follow(ctx, gw, run.ID, f.asJSON)
}

// tellFilled says what was not taken, and why.
func (a *app) tellFilled(f index.Filled) {
	for _, b := range f.Bad[:min(len(f.Bad), 20)] {
		_, _ = fmt.Fprintf(a.Err, "line %d: %s\n", b.Line, ask.Printable(b.Reason))
	}
	say := func(n int, what string) {
		if n > 0 {
			_, _ = fmt.Fprintf(a.Err, "%d %s\n", n, what)
		}
	}
	say(f.BadLines, "lines are no items and were left out")
	say(f.Repeated, "items have an id that came before and were left out")
	say(f.LeftOut, "items are not in the sample")
	var ends []string
	total := 0
	for end, n := range f.Left {
		ends, total = append(ends, fmt.Sprintf("%d %s", n, ask.Printable(end))), total+n
	}
	if total > 0 {
		slices.Sort(ends)
		_, _ = fmt.Fprintf(a.Err, "%d files are not named like audio and were left out (--all-files takes them): %s\n", total, strings.Join(ends[:min(len(ends), 12)], ", "))
	}
}

// follow shows a run until it has ended or paused, and tells what became of it.
func (a *app) follow(ctx context.Context, gw *client.Client, id string, asJSON bool) error {
	line, began, before := terminal.Of(a.Err), time.Now(), -1
	run, err := index.Follow(ctx, gw, id, func(r client.Run) {
		if before < 0 {
			before = r.Counts.Ended()
		}
		line.Draw(runLine(r, r.Counts.Ended()-before, time.Since(began)))
	}, func(err error) { line.Draw("the gateway does not answer: " + err.Error()) })
	line.Clear()
	if ctx.Err() != nil {
		_, _ = fmt.Fprintf(a.Err, "no longer following; the run goes on: lark index status %s, lark index cancel %s\n", id, id)
		return errSilent
	}
	if err != nil {
		return err
	}
	if asJSON {
		if err := json.NewEncoder(a.Out).Encode(run); err != nil {
			return fmt.Errorf("printing run: %w", err)
		}
	} else {
		a.printRun(run)
	}
	return runVerdict(run)
}

// runVerdict is how a command ends that has followed a run.
func runVerdict(run client.Run) error {
	switch run.State {
	case client.RunSucceeded:
		return nil
	case client.RunPartial:
		return errPartial
	}
	return errSilent
}

// runLine is the progress of a run: done items of this many seconds give the rate.
func runLine(r client.Run, done int, took time.Duration) string {
	ended := r.Counts.Ended()
	text := fmt.Sprintf("%d/%d items", ended, r.Items)
	if r.Counts.Failed > 0 {
		text += fmt.Sprintf(", %d failed", r.Counts.Failed)
	}
	if rate := float64(done) / took.Seconds(); done > 0 && took > time.Second {
		left := time.Duration(float64(r.Items-ended) / rate * float64(time.Second)).Round(time.Second)
		text += fmt.Sprintf(", %.1f/s, %s left", rate, left)
	}
	if r.Reason != "" {
		text += "; " + r.Reason
	}
	return text
}

func (a *app) printRun(r client.Run) {
	a.printf("%s  %s  %s\n", r.ID, r.State, ask.Printable(r.Asked.Name))
	c := r.Counts
	a.printf("  items %d: succeeded %d, partial %d, failed %d, cancelled %d, skipped %d, running %d, pending %d\n",
		r.Items, c.Succeeded, c.Partial, c.Failed, c.Cancelled, c.Skipped, c.Running, c.Pending)
	a.printf("  audio %.0f s, windows %d (%d encoded, %d re-used), answers %d (%d kept from before)\n",
		r.Work.AudioS, r.Work.Windows, r.Work.Encoded, r.Work.Windows-r.Work.Encoded, r.Work.Answers, r.Work.Known)
	a.printf("  cost: encoder %s, %d tokens in, %d out%s\n", seconds(r.Cost.EncoderS), r.Cost.PromptTokens, r.Cost.OutputTokens, priceOf(r.Cost.Amount, r.Cost.Currency))
	var codes []string
	for code := range r.Failures {
		codes = append(codes, code)
	}
	slices.SortFunc(codes, func(x, y string) int { return r.Failures[y] - r.Failures[x] })
	for _, code := range codes {
		a.printf("  %6d  %s\n", r.Failures[code], ask.Printable(code))
	}
	if r.Reason != "" {
		a.printf("  %s\n", ask.Printable(r.Reason))
	}
}

func (a *app) indexList(server *serverFlags) *cobra.Command {
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List runs, newest first", Args: cobra.NoArgs, Example: "  lark index list --json | jq -r .id",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if limit < 1 || limit > maxPage {
				return usage(fmt.Errorf("--limit must be between 1 and %d", maxPage))
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			list, err := gw.Runs(cmd.Context(), "", limit)
			if err != nil {
				return err
			}
			for _, r := range list.Runs {
				if asJSON {
					if err := json.NewEncoder(a.Out).Encode(r); err != nil {
						return fmt.Errorf("printing run: %w", err)
					}
					continue
				}
				a.printf("%s  %-10s  %s  %d/%d  %s\n", r.ID, r.State, r.CreatedAt.Local().Format(time.DateTime), r.Counts.Ended(), r.Items, ask.Printable(r.Asked.Name))
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print one JSON object per run, one per line")
	cmd.Flags().IntVar(&limit, "limit", 20, "how many, at most 100")
	return cmd
}

func (a *app) indexStatus(server *serverFlags) *cobra.Command {
	var asJSON, wait bool
	cmd := &cobra.Command{
		Use: "status RUN", Short: "Show a run", Args: cobra.ExactArgs(1), Example: "  lark index status albums --json | jq .failures\n  lark index status albums --wait",
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			if wait {
				return a.follow(cmd.Context(), gw, args[0], asJSON)
			}
			run, err := gw.Run(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			return a.showRun(run, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the run as JSON")
	cmd.Flags().BoolVar(&wait, "wait", false, "follow the run until it has ended or paused; the exit code is that of lark index run")
	return cmd
}

func (a *app) showRun(run client.Run, asJSON bool) error {
	if asJSON {
		if err := json.NewEncoder(a.Out).Encode(run); err != nil {
			return fmt.Errorf("printing run: %w", err)
		}
		return nil
	}
	a.printRun(run)
	return nil
}

func (a *app) indexMove(server *serverFlags, verb, short string) *cobra.Command {
	return &cobra.Command{
		Use: verb + " RUN", Short: short, Args: cobra.ExactArgs(1), Example: "  lark index " + verb + " albums",
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			run, err := gw.MoveRun(cmd.Context(), args[0], verb)
			if err != nil {
				return err
			}
			a.printRun(run)
			return nil
		},
	}
}

func (a *app) indexRetry(server *serverFlags) *cobra.Command {
	var code string
	var failed bool
	cmd := &cobra.Command{
		Use: "retry RUN --failed", Short: "Take up the items that have failed in whole or in part once more", Args: cobra.ExactArgs(1),
		Example: "  lark index retry albums --failed\n  lark index retry albums --failed --code source_missing",
		RunE: func(cmd *cobra.Command, args []string) error {
			if !failed {
				return usage(errors.New("say which items: --failed"))
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			result, err := gw.RetryRun(cmd.Context(), args[0], code)
			if err != nil {
				return err
			}
			a.printf("%d items are pending again\n", result.Retried)
			return nil
		},
	}
	cmd.Flags().BoolVar(&failed, "failed", false, "the items that have failed in whole or in part")
	cmd.Flags().StringVar(&code, "code", "", "only items with this `code`")
	return cmd
}

func (a *app) indexExport(server *serverFlags) *cobra.Command {
	e := index.Export{}
	cmd := &cobra.Command{
		Use: "export RUN --out DIR", Short: "Write a run's results into files", Args: cobra.ExactArgs(1),
		Long: `Writes two tables: tracks, one row for each item, also for those that failed, with the answers and tags of the whole track; and windows, one row
for each question about each window. A file appears when it is whole; _manifest.json, with rows and SHA-256 of each file, comes last: without it the export is not
whole. The answer of a whole track is the combined one of runs with --combine, and that of the only window of others.

  format         files
  parquet        tracks-00000.parquet, windows-00000.parquet
  jsonl, csv     the same rows as JSON lines, or as CSV with lists and objects as JSON
  rekordbox      tracks-00000.xml: the tracks that are files and have results, as a rekordbox collection with a playlist of the run's name. Title, artist and
                 album are the manifest's columns of these names. What is left out is told
  elasticsearch  tracks-00000.ndjson: one document for each item, at most some 8 MB in a file, for POST /_bulk of Elasticsearch and OpenSearch. An item's document has
                 the item's id, so that a later export replaces it

DIR is a folder, or s3://bucket/prefix or gs://bucket/prefix with the parameters and credentials of sources. Files that an older export of the same format has left in
it are removed.`,
		Example: `  lark index export albums --format parquet --out albums-tags
  duckdb -c "SELECT key, count(*) FROM 'albums-tags/tracks-*.parquet' GROUP BY key"
  lark index export albums --format rekordbox --out for-rekordbox
  lark index export albums --format elasticsearch --index music --out bulk
  for f in bulk/*.ndjson; do curl -fsS -H 'content-type: application/x-ndjson' --data-binary "@$f" localhost:9200/_bulk; done
  lark index export albums --out 's3://results/albums?region=eu-central-1'`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if e.Dir == "" {
				return usage(errors.New("--out DIR is needed"))
			}
			if err := e.Check(); err != nil {
				return usage(err)
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			run, err := gw.Run(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			line := terminal.Of(a.Err)
			e.Gateway, e.Progress = gw, func(n int) { line.Draw(fmt.Sprintf("%d/%d items", n, run.Items)) }
			m, err := e.Run(cmd.Context(), run)
			line.Clear()
			if err != nil {
				return err
			}
			for _, p := range m.Parts {
				a.printf("%s/%s  %d rows  %d bytes\n", strings.TrimSuffix(index.Place(e.Dir), "/"), p.File, p.Rows, p.Bytes)
			}
			for _, reason := range slices.Sorted(maps.Keys(m.LeftOut)) {
				_, _ = fmt.Fprintf(a.Err, "%d items are left out: %s\n", m.LeftOut[reason], reason)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&e.Format, "format", "parquet", "`form` of the files: "+strings.Join(index.Formats(), ", "))
	cmd.Flags().StringVar(&e.Dir, "out", "", "`place` of the files: a folder, made where it is missing, or s3://bucket/prefix or gs://bucket/prefix")
	cmd.Flags().StringVar(&e.Index, "index", "", "`name` of the index, with --format elasticsearch (default "+index.DefaultIndex+")")
	cmd.Flags().BoolVar(&e.Embeddings, "embeddings", false, "write a table embeddings as well: one vector for each track, the mean over all that was heard, with length 1")
	cmd.Flags().IntVar(&e.PartRows, "part-rows", 100_000, "rows of a file at most")
	return cmd
}

func (a *app) indexVerify(server *serverFlags) *cobra.Command {
	var dir, from string
	var asJSON, allFiles bool
	cmd := &cobra.Command{
		Use: "verify RUN", Short: "Reconcile a run with its outcomes, its source and its export", Args: cobra.ExactArgs(1),
		Long: `Compares the run's counters with its items, each item with its outcomes, the items with the source if --source names it, and all of it with the files of
an export. The exit code is 0 only if nothing differs.`,
		Example: "  lark index verify albums --source ~/Music --export albums-tags",
		RunE: func(cmd *cobra.Command, args []string) error {
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			run, err := gw.Run(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			var src *index.Source
			if from != "" {
				src = &index.Source{Name: from, Input: a.In, AllFiles: allFiles}
			}
			v, err := index.Verify(cmd.Context(), gw, run, src, dir)
			if err != nil {
				return err
			}
			return a.tellVerification(v, asJSON)
		},
	}
	cmd.Flags().StringVar(&dir, "export", "", "`place` of an export: a folder, s3://bucket/prefix or gs://bucket/prefix")
	cmd.Flags().StringVar(&from, "source", "", "`source` that the run was made of")
	cmd.Flags().BoolVar(&allFiles, "all-files", false, "as in lark index run")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print the result as JSON")
	return cmd
}

func (a *app) tellVerification(v index.Verification, asJSON bool) error {
	if asJSON {
		if err := json.NewEncoder(a.Out).Encode(v); err != nil {
			return fmt.Errorf("printing result: %w", err)
		}
	} else {
		for _, d := range v.Differences {
			a.printf("%s\n", ask.Printable(d))
		}
		a.printf("%d items, %d outcomes, %d differences\n", v.Items, v.Outcomes, v.DifferenceCount)
	}
	if v.DifferenceCount > 0 {
		return errSilent
	}
	return nil
}

func (a *app) indexReport(server *serverFlags) *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use: "report RUN --out FILE.html", Short: "Write a run's report as one HTML page", Args: cobra.ExactArgs(1), Example: "  lark index report albums --out albums.html",
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usage(errors.New("--out FILE.html is needed"))
			}
			gw, err := a.gateway(cmd, server)
			if err != nil {
				return err
			}
			run, err := gw.Run(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			f, err := os.Create(out)
			if err != nil {
				return fmt.Errorf("writing report: %w", err)
			}
			if err := errors.Join(index.Report(cmd.Context(), gw, run, f), f.Close()); err != nil {
				return errors.Join(err, os.Remove(out))
			}
			a.printf("%s\n", out)
			return nil
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "`file` of the report")
	return cmd
}

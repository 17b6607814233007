package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lab/eval"
	"github.com/larkstream/larkstream/lab/eval/judge"
	"github.com/larkstream/larkstream/lark/internal/terminal"
	"github.com/larkstream/larkstream/lark/internal/up"
)

// evalFlags are what lark eval is told.
type evalFlags struct {
	eval.Config

	server, model, out, html, against string
	judgeURL, judgeModel              string
	json, noCache                     bool
}

func (a *app) evalCommand() *cobra.Command {
	var flags evalFlags
	cmd := &cobra.Command{
		Use: "eval", Short: "Measure how true a model's answers about labelled music are", Args: cobra.NoArgs,
		Long: `Asks a model about the labelled clips of a set and scores its answers, each figure with its 95 % interval, beside the best constant answer
and engine/mir's signal processing on the same clips. The model runs in this process (--model), or is a deployment's (--server).

A set is a folder with set.jsonl, one JSON object a line: {"id", "audio", "labels": {"tempo_bpm", "key" ("Eb minor"), "metre" ("3/4"),
"instruments" [..], "drums" true|false, "genre", "genre_choices" [..], "caption", "unanswerable" true, "multiple_choice"
[{"question", "choices", "answer"}]}}. Any label may be missing. lark eval import makes sets of public collections.

Tasks: key, tempo, metre, instruments, drums, genre, captions, choice, unanswerable, consistency (the same question in eight wordings), grounding
(audio shuffled between clips), robustness (clips as MP3, softer, noisy, out of tune; needs ffmpeg and asks five times as much). What
they measure is in docs/evaluation.md. Answers are kept beside the report, so that a run that was stopped goes on where it was.`,
		Example: `  lark eval --set mysongs --out report.json --html report.html
  lark eval --set gtzan --server http://127.0.0.1:8080 --tasks genre,grounding --out gtzan.json
  lark eval --set test --tasks key,tempo,robustness --limit 100 --out report.json
  lark eval --set muchomusic --model my-bundle --tasks choice,grounding --choices text,likelihood --out choice.json
  lark eval --set captions --tasks captions --judge http://127.0.0.1:8000/v1 --judge-model qwen2.5-72b --out report.json
  jq .summary.tempo report.json`,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := flags.check(); err != nil {
				return usage(err)
			}
			return a.eval(cmd.Context(), flags)
		},
	}
	f := cmd.Flags()
	f.StringVar(&flags.Set, "set", "", "`folder` that holds set.jsonl")
	f.StringVar(&flags.server, "server", "", "gateway `URL`: measure the deployment behind it")
	f.StringVar(&flags.model, "model", "", "model bundle `folder` to run in this process (default: as lark up finds it)")
	f.StringSliceVar(&flags.Tasks, "tasks", nil, "`names` of tasks, by commas (default: all but robustness)")
	f.StringSliceVar(&flags.Choices, "choices", []string{eval.ChoicesText}, "how multiple choices are answered: `text`, likelihood, or both by a comma; likelihood needs --model")
	f.StringVar(&flags.out, "out", "", "`file` for the report, JSON")
	f.StringVar(&flags.html, "html", "", "`file` for the report as a page that needs no other file")
	f.IntVar(&flags.Limit, "limit", 0, "only the first clips (default: all)")
	f.Uint64Var(&flags.Seed, "seed", 1, "seed of shuffles, noise and intervals")
	f.StringVar(&flags.Questions, "questions", "", "JSON `file` of wordings by task (default: built in)")
	f.StringVar(&flags.Cache, "cache", "", "`file` that keeps answers (default: the report's name and .answers)")
	f.BoolVar(&flags.noCache, "no-cache", false, "ask everything anew and keep nothing")
	f.StringVar(&flags.judgeURL, "judge", "", "base `URL` of an OpenAI-compatible API that judges captions; its key is $LARK_JUDGE_KEY")
	f.StringVar(&flags.judgeModel, "judge-model", "", "`name` of the model that judges")
	f.StringVar(&flags.against, "against", "", "report `file` of another run, whose captions the judge compares with")
	f.BoolVar(&flags.json, "json", false, "print the summary as JSON instead of a table")
	cmd.AddCommand(a.evalImportCommand(), a.evalCompareCommand())
	return cmd
}

func (f *evalFlags) check() error {
	switch {
	case f.Set == "":
		return errors.New("--set names no folder: it holds set.jsonl")
	case f.out == "":
		return errors.New("--out names no file: the report goes there")
	case f.server != "" && f.model != "":
		return errors.New("of --server and --model only one can be given")
	case f.server != "" && slices.Contains(f.Choices, eval.ChoicesLikelihood):
		return errors.New("--choices likelihood needs --model: a gateway tells texts and no probabilities")
	case f.Limit < 0:
		return errors.New("--limit must not be below 0")
	case f.noCache && f.Cache != "":
		return errors.New("of --cache and --no-cache only one can be given")
	case (f.judgeURL == "") != (f.judgeModel == ""):
		return errors.New("--judge and --judge-model go together")
	case f.against != "" && f.judgeURL == "":
		return errors.New("--against needs a judge: name one with --judge")
	}
	if f.Cache == "" && !f.noCache {
		f.Cache = f.out + ".answers"
	}
	return errors.Join(eval.CheckTasks(f.Tasks), eval.CheckChoices(f.Choices))
}

func (a *app) eval(ctx context.Context, flags evalFlags) (err error) {
	if err := a.evalJudge(&flags); err != nil {
		return err
	}
	model, err := a.evalModel(ctx, flags)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, model.Close()) }()
	line := terminal.Of(a.Err)
	flags.Progress = func(done, of int) { line.Draw(fmt.Sprintf("%d of %d clips", done, of)) }
	defer line.Clear()
	report, err := eval.Run(ctx, model, flags.Config)
	if err != nil {
		return err
	}
	err = writeWhole(flags.out, func(w io.Writer) error {
		enc := json.NewEncoder(w)
		enc.SetIndent("", " ")
		return enc.Encode(report)
	})
	if err == nil && flags.html != "" {
		err = writeWhole(flags.html, func(w io.Writer) error { return eval.WritePage(ctx, w, report, flags.Set) })
	}
	if err != nil {
		return err
	}
	if flags.json {
		return json.NewEncoder(a.Out).Encode(report.Summary)
	}
	eval.WriteTable(a.Out, report)
	return nil
}

// evalJudge opens the judge and reads the captions to compare with.
func (a *app) evalJudge(flags *evalFlags) error {
	if flags.judgeURL == "" {
		return nil
	}
	j, err := judge.New(judge.Config{URL: flags.judgeURL, Model: flags.judgeModel, Key: os.Getenv("LARK_JUDGE_KEY")})
	if err != nil {
		return usage(err)
	}
	flags.Judge = j
	if flags.against == "" {
		return nil
	}
	flags.Rival, err = eval.ReadCaptions(flags.against)
	return err
}

func (a *app) evalModel(ctx context.Context, flags evalFlags) (eval.Model, error) {
	if flags.server != "" {
		gateway, err := dial(flags.server)
		if err != nil {
			return nil, usage(err)
		}
		return eval.OpenServer(ctx, gateway)
	}
	folder, err := a.folder()
	if err != nil {
		return nil, err
	}
	dir, err := up.FindModel(flags.model, folder)
	if err != nil {
		return nil, err
	}
	return eval.OpenLocal(ctx, dir)
}

// writeWhole writes a file that appears only when it is whole.
func writeWhole(path string, write func(io.Writer) error) (err error) {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("writing %s: %w", path, err)
	}
	if err = errors.Join(write(file), file.Chmod(0o644), file.Close()); err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", path, err), os.Remove(file.Name()))
	}
	return nil
}

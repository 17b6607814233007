package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/larkstream/larkstream/lab/dataset"
	"github.com/larkstream/larkstream/lark/internal/terminal"
)

func (a *app) datasetCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use: "dataset", Short: "Make training data out of open collections of music", Args: cobra.NoArgs,
		Long: `Makes training data in LLark's way: clips of open collections, annotated by signal processing, pairs of question and answer by rules or by a
language model, each pair checked against what is known of its clip, frames of a frozen encoder, splits without leaks, and files for trainers.

Every step keeps one line a clip in the set's folder. A step that was stopped goes on where it was; run again it does nothing. See docs/dataset.md.`,
		Example: `  lark dataset import musicnet --from ~/datasets/musicnet --out sets/music
  lark dataset annotate sets/music
  lark dataset generate sets/music --rules
  lark dataset encode sets/music --model jukebox-5b
  lark dataset split sets/music
  lark dataset export sets/music --format webdataset --out shards
  lark dataset report sets/music --out report.html
  lark dataset verify sets/music`,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(a.datasetImportCommand(), a.datasetAnnotateCommand(), a.datasetGenerateCommand(), a.datasetEncodeCommand(), a.datasetSplitCommand(), a.datasetExportCommand(),
		a.datasetReportCommand(), a.datasetVerifyCommand())
	return cmd
}

func (a *app) datasetImportCommand() *cobra.Command {
	var from, out string
	var seed uint64
	var asJSON bool
	cmd := &cobra.Command{
		Use: "import COLLECTION --from FOLDER --out SET", Short: "Read a collection as it is distributed", Args: cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs),
		ValidArgs: dataset.Collections(),
		Long: `Reads a collection that lies on this machine as it is distributed, and writes its clips into a set. Audio is not copied: the set names the files
where they lie. A clip whose audio cannot be had any more is kept with the reason. Several collections can be imported into one set.

Collections: ` + strings.Join(dataset.Collections(), ", ") + `
(synthetic: clips of training/nano/generate.py; folder: any audio files below a licence.txt).`,
		Example: "  lark dataset import fma --from ~/datasets/fma --out sets/music",
		RunE: func(_ *cobra.Command, args []string) error {
			if from == "" || out == "" {
				return usage(errors.New("--from names the collection's folder and --out the set's: both are needed"))
			}
			result, err := dataset.Import(args[0], from, out, seed)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(a.Out).Encode(result)
			}
			a.printf("%s: %d clips of %s, %d of them without audio; %s\n", out, result.Clips, args[0], result.Missing, result.Reasons())
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&from, "from", "", "`folder` into which the collection was unpacked")
	f.StringVar(&out, "out", "", "`folder` of the set")
	f.Uint64Var(&seed, "seed", 1, "seed that decides which long tracks are heard from the beginning")
	f.BoolVar(&asJSON, "json", false, "print the counts as JSON")
	return cmd
}

// stepFlags are the flags of every step.
type stepFlags struct {
	dataset.RunOptions

	part string
	json bool
}

func (s *stepFlags) add(f *pflag.FlagSet, jobs int) {
	f.IntVar(&s.Jobs, "jobs", jobs, "clips that are worked on at once")
	f.BoolVar(&s.Anew, "anew", false, "forget what this step has done, and begin anew")
	f.BoolVar(&s.Retry, "retry", false, "do again what has failed")
	f.StringVar(&s.part, "part", "", "`I/N`: do only every Nth clip, from the Ith, so that N machines share a step; run it again without --part to join what they did (default: all)")
	f.BoolVar(&s.json, "json", false, "print the counts as JSON")
}

// drawEvery is how often a progress line changes at most.
const drawEvery = 100 * time.Millisecond

// begin opens the set and prepares the progress line; end clears the line.
func (a *app) begin(dir, step string, s *stepFlags) (set *dataset.Set, end func(), err error) {
	if s.Jobs < 1 {
		return nil, nil, usage(errors.New("--jobs must be 1 or more"))
	}
	if s.Part, err = dataset.ParsePart(s.part); err != nil {
		return nil, nil, usage(err)
	}
	if set, err = dataset.Open(dir); err != nil {
		return nil, nil, err
	}
	line := terminal.Of(a.Err)
	var drawn time.Time
	s.Progress = func(name string, done int) {
		if now := time.Now(); now.Sub(drawn) > drawEvery {
			drawn = now
			line.Draw(fmt.Sprintf("%s: %d clips of %s", step, done, name))
		}
	}
	return set, line.Clear, nil
}

func (a *app) tally(s *stepFlags, step string, t dataset.Tally) error {
	if s.json {
		return json.NewEncoder(a.Out).Encode(t)
	}
	a.printf("%s: %d clips, %d of them done before; %d failed, %d without audio\n", step, t.Clips, t.Kept, t.Failed, t.Missing)
	return nil
}

func (a *app) datasetAnnotateCommand() *cobra.Command {
	var flags stepFlags
	var cfg dataset.AnnotateConfig
	var command string
	cmd := &cobra.Command{
		Use: "annotate SET", Short: "Measure tempo, beats, key, chords and loudness of every clip", Args: cobra.ExactArgs(1),
		Long: `Measures the clips of a set by signal processing (engine/mir), at most 360 s of each. Times are from the start of the clip. Readings that are less
likely than --confidence are left out: a wrong label is worse than none.

--command starts a program that annotates as well, such as one of yours around another library. It reads JSON lines {"clip", "audio", "start",
"end"} and writes one JSON object a line, in the same order; its fields replace ours of the same name.`,
		Example: `  lark dataset annotate sets/music --jobs 8
  lark dataset annotate sets/music --command "python3 my_annotator.py"`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cfg.Confidence < 0 || cfg.Confidence > 1 {
				return usage(errors.New("--confidence must be from 0 to 1"))
			}
			set, end, err := a.begin(args[0], "annotate", &flags)
			if err != nil {
				return err
			}
			cfg.RunOptions, cfg.Command = flags.RunOptions, strings.Fields(command)
			tally, err := dataset.Annotate(cmd.Context(), set, cfg)
			end()
			if err != nil {
				return err
			}
			return a.tally(&flags, "annotate", tally)
		},
	}
	flags.add(cmd.Flags(), runtime.GOMAXPROCS(0))
	cmd.Flags().Float64Var(&cfg.Confidence, "confidence", 0.5, "how likely a reading must be to become a field, 0 to 1")
	cmd.Flags().StringVar(&command, "command", "", "`program` and arguments, by spaces, that annotates as well")
	return cmd
}

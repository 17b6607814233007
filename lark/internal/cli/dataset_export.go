package cli

import (
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/lab/dataset"
	"github.com/larkstream/larkstream/lark/internal/up"
)

const storeHelp = "`URL` of the object store with frames, such as a deployment's BLOB_URL (default: the set's own folder)"

// encodeModel is the bundle's folder that is named, or that lark up would find.
func (a *app) encodeModel(named string) (string, error) {
	folder, err := a.folder()
	if err != nil {
		return "", err
	}
	return up.FindModel(named, folder)
}

func (a *app) datasetEncodeCommand() *cobra.Command {
	var flags stepFlags
	var cfg dataset.EncodeConfig
	var server string
	cmd := &cobra.Command{
		Use: "encode SET", Short: "Run the frozen encoder over every clip", Args: cobra.ExactArgs(1),
		Long: `Runs the encoder of a model bundle over every clip and keeps its frames in an object store, under the same keys as a deployment's encoder stage.
Frames that the store has already are not computed again.

With --server a deployment encodes: each clip becomes a job of its bulk lane, and goes over Kafka to as many encoder stages as there are. --store is then the deployment's object store, and --jobs
how many clips are under way; the gateway's token is $LARK_TOKEN.`,
		Example: `  lark dataset encode sets/music --model jukebox-5b --device cuda
  lark dataset encode sets/music --model jukebox-5b --store s3://lark/blobs
  lark dataset encode sets/music --model jukebox-5b --store s3://lark/blobs --server https://lark.example.com --jobs 64`,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if server != "" {
				if cfg.Store == "" {
					return usage(errors.New("--server needs the deployment's object store: name it with --store"))
				}
				if cfg.Server, err = dial(server); err != nil {
					return usage(err)
				}
			}
			set, end, err := a.begin(args[0], "encode", &flags)
			if err != nil {
				return err
			}
			if cfg.Model, err = a.encodeModel(cfg.Model); err != nil {
				return err
			}
			cfg.RunOptions = flags.RunOptions
			tally, err := dataset.Encode(cmd.Context(), set, cfg)
			end()
			if err != nil {
				return err
			}
			return a.tally(&flags, "encode", tally)
		},
	}
	flags.add(cmd.Flags(), 2)
	cmd.Flags().StringVar(&cfg.Model, "model", "", "`folder` of the bundle (default: as lark up finds it)")
	cmd.Flags().StringVar(&cfg.Store, "store", "", storeHelp)
	cmd.Flags().StringVar(&server, "server", "", "gateway `URL` of a deployment that encodes (default: this process does)")
	cmd.Flags().StringVar(&cfg.Device, "device", encoder.DeviceCPU, "`name` of the device: cpu, auto, cuda, vulkan, metal")
	return cmd
}

func (a *app) datasetSplitCommand() *cobra.Command {
	var cfg dataset.SplitConfig
	var asJSON bool
	cmd := &cobra.Command{
		Use: "split SET", Short: "Divide clips into training, validation and test", Args: cobra.ExactArgs(1),
		Long: `Divides clips by track and artist: no track, no artist and no piece of audio is in two splits. A clip whose collection names a split stays there; it is
left out where its artist is in a stricter split. --keep-out names sets of lark eval: clips with the same audio are left out of training, and with
--alike also clips whose mean embedding has at least this cosine with that of a clip that is tested on. Run it after encode.`,
		Example: `  lark dataset split sets/music --validation 0.02 --test 0.05
  lark dataset split sets/music --keep-out sets/gtzan --keep-out sets/gs-key --model jukebox-5b --alike 0.97`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cfg.Validation < 0 || cfg.Test < 0 || cfg.Validation+cfg.Test >= 1 || cfg.Alike < 0 || cfg.Alike > 1 {
				return usage(errors.New("--validation and --test are shares that leave something for training, and --alike is from 0 to 1"))
			}
			set, err := dataset.Open(args[0])
			if err != nil {
				return err
			}
			if len(cfg.KeepOut) > 0 {
				if cfg.Encode.Model, err = a.encodeModel(cfg.Encode.Model); err != nil {
					return err
				}
			}
			got, err := dataset.Split(cmd.Context(), set, cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(a.Out).Encode(got)
			}
			a.printCounts("", got.Splits)
			a.printCounts("left out: ", got.Left)
			return nil
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&cfg.Seed, "seed", 1, "seed of the division")
	f.Float64Var(&cfg.Validation, "validation", 0.02, "share of artists for validation, where a collection names no split")
	f.Float64Var(&cfg.Test, "test", 0.05, "share of artists for the test, where a collection names no split")
	f.StringArrayVar(&cfg.KeepOut, "keep-out", nil, "`folder` of a set of lark eval whose audio must not be trained on; may be given several times")
	f.Float64Var(&cfg.Alike, "alike", 0, "cosine from which embeddings count as alike, 0 to 1 (default: not looked for)")
	f.StringVar(&cfg.Encode.Model, "model", "", "`folder` of the bundle that encodes --keep-out (default: as lark up finds it)")
	f.StringVar(&cfg.Encode.Store, "store", "", storeHelp)
	f.BoolVar(&asJSON, "json", false, "print the counts as JSON")
	return cmd
}

func (a *app) printCounts(before string, counts map[string]int) {
	for _, name := range slices.Sorted(maps.Keys(counts)) {
		a.printf("%s%s: %d\n", before, name, counts[name])
	}
}

func (a *app) datasetExportCommand() *cobra.Command {
	var cfg dataset.ExportConfig
	var balance, frames string
	var asJSON bool
	cmd := &cobra.Command{
		Use: "export SET --out FOLDER", Short: "Write the accepted pairs with their frames for trainers", Args: cobra.ExactArgs(1),
		Long: `Writes the accepted pairs of all clips that have frames and a split, with a manifest of counts, licences and digests. Formats: webdataset (shards for
training/llark; with --frames pyd for LLark's released script), parquet (one row a pair) and jsonl (one line a clip, frames as .npy files).

--licence keeps clips whose licence matches a pattern; see the manifest or the report for what there is. --balance is a JSON file of shares, such as
{"families": {"understanding": 0.5, "captioning": 0.2, "reasoning": 0.3}, "datasets": {"fma": 0.4}}; pairs are left out for it, never repeated.`,
		Example: `  lark dataset export sets/music --out shards
  lark dataset export sets/music --out shards --licence "CC-BY-*" --licence "CC0-*" --balance balance.json
  lark dataset export sets/music --out parquet --format parquet`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if cfg.Out == "" {
				return usage(errors.New("--out names no folder"))
			}
			if frames != "npy" && frames != "pyd" {
				return usage(errors.New("--frames is npy or pyd"))
			}
			cfg.Pickle = frames == "pyd"
			if balance != "" {
				raw, err := os.ReadFile(balance)
				if err == nil {
					err = json.Unmarshal(raw, &cfg.Balance)
				}
				if err != nil {
					return err
				}
			}
			set, err := dataset.Open(args[0])
			if err != nil {
				return err
			}
			m, err := dataset.Export(cmd.Context(), set, cfg)
			if err != nil {
				return err
			}
			if asJSON {
				return json.NewEncoder(a.Out).Encode(m)
			}
			a.printCounts("pairs of ", m.Pairs)
			a.printCounts("pairs under ", m.Licences)
			a.printCounts("left behind, clips ", m.LeftClips)
			a.printCounts("left behind, pairs ", m.LeftPairs)
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.Out, "out", "", "`folder` for the files")
	f.StringVar(&cfg.Format, "format", dataset.FormatWebdataset, "one of "+strings.Join(dataset.Formats(), ", "))
	f.StringVar(&frames, "frames", "npy", "form of frames in webdataset: npy, or pyd for LLark's released script")
	f.StringVar(&cfg.Store, "store", "", storeHelp)
	f.StringArrayVar(&cfg.Licences, "licence", nil, "`pattern` of a licence, such as CC-BY-*; may be given several times (default: all)")
	f.StringVar(&balance, "balance", "", "JSON `file` of shares by family and collection")
	f.Float64Var(&cfg.Thin.Within, "alike", 0.9, "share of words from which two pairs of a clip are alike, 0 to 1; 0 keeps all")
	f.IntVar(&cfg.Thin.Same, "same", 0, "how many pairs may have the same words, numbers aside (default: any number)")
	f.Int64Var(&cfg.ShardBytes, "shard-bytes", 1<<30, "size from which the next file is begun")
	f.Uint64Var(&cfg.Seed, "seed", 1, "seed that decides which pairs are left out for the balance")
	f.BoolVar(&asJSON, "json", false, "print the manifest as JSON")
	return cmd
}

func (a *app) datasetReportCommand() *cobra.Command {
	var out string
	var seed uint64
	cmd := &cobra.Command{
		Use: "report SET --out FILE", Short: "Write a page about a set", Args: cobra.ExactArgs(1),
		Long:    `Writes a page that needs no other file: counts by collection and family, licences, clips to be heard with their pairs, rejected pairs with reasons, cost.`,
		Example: "  lark dataset report sets/music --out report.html",
		RunE: func(cmd *cobra.Command, args []string) error {
			if out == "" {
				return usage(errors.New("--out names no file"))
			}
			set, err := dataset.Open(args[0])
			if err != nil {
				return err
			}
			return writeWhole(out, func(w io.Writer) error { return dataset.WriteReport(cmd.Context(), w, set, seed) })
		},
	}
	cmd.Flags().StringVar(&out, "out", "", "`file` for the page")
	cmd.Flags().Uint64Var(&seed, "seed", 1, "seed that draws the examples")
	return cmd
}

func (a *app) datasetVerifyCommand() *cobra.Command {
	var cfg dataset.VerifyConfig
	var asJSON bool
	cmd := &cobra.Command{
		Use: "verify SET", Short: "Reconcile a set: nothing missing, nothing untrue, nothing in two splits", Args: cobra.ExactArgs(1),
		Long: `Reads a whole set: every step has exactly one row a clip, every accepted pair still passes the checks, frames are in the store, no track, artist or
audio is in two splits, and the files of --export are those of its manifest. The exit code is 1 if anything is wrong.`,
		Example: "  lark dataset verify sets/music --export shards",
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := dataset.Open(args[0])
			if err != nil {
				return err
			}
			got, err := dataset.Verify(cmd.Context(), set, cfg)
			if err != nil {
				return err
			}
			if asJSON {
				err = json.NewEncoder(a.Out).Encode(got)
			} else {
				a.printf("%d clips, %d accepted pairs, %d clips with frames; %d faults\n", got.Clips, got.Pairs, got.Frames, got.FaultCount)
				for _, f := range got.Faults {
					a.printf("  %s\n", f)
				}
			}
			if got.FaultCount > 0 {
				err = errors.Join(err, errSilent)
			}
			return err
		},
	}
	cmd.Flags().StringVar(&cfg.Store, "store", "", storeHelp)
	cmd.Flags().StringVar(&cfg.Export, "export", "", "`folder` of an export to compare with its manifest")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print what was found as JSON")
	return cmd
}

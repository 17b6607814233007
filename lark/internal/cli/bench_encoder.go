package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/lab/bench"
)

func (a *app) benchEncoder() *cobra.Command {
	var cfg bench.EncoderConfig
	var asJSON bool
	var peer, write string
	cmd := &cobra.Command{
		Use: "encoder --model FOLDER", Short: "Measure a Jukebox encoder part by part, beside a peer", Args: cobra.NoArgs,
		Long: `Encodes one clip, each time in a process of its own and every precision and the peer in turns, and prints, in processor time,
what each part of the work took, its rate, and that rate as a share of what the processor reaches on operands in its
first-level cache, measured in the same processes; memory; and how far the results are from the first precision's. A random
bundle costs what the real one costs. With --layers the rest is extrapolated.`,
		Example: "  lark model random jukebox --preset 5b --out random-5b\n  lark bench encoder --model random-5b --layers 3 --rounds 1",
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := checkBenchEncoder(cfg); err != nil {
				return usage(err)
			}
			if cfg.Executable, err = os.Executable(); err != nil {
				return fmt.Errorf("finding own binary: %w", err)
			}
			cfg.Peer, cfg.Log = strings.Fields(peer), a.Err
			cfg.Progress = func(what string) { _, _ = fmt.Fprintln(a.Err, what) }
			report, err := bench.RunEncoder(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return a.writeEncoder(report, asJSON, write)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.ModelDir, "model", "", "`folder` of the bundle")
	f.StringSliceVar(&cfg.Precisions, "precision", bench.Precisions(), "precisions, of which the first is what results are compared with")
	f.StringVar(&peer, "peer", "", "`command` of another implementation, e.g. python training/peers/jukebox_torch.py")
	f.Float64Var(&cfg.Seconds, "seconds", 25, "seconds of audio, of which the encoder hears its span")
	f.IntVar(&cfg.Layers, "layers", 0, "layers to run, from the first (default all)")
	f.IntVar(&cfg.Rounds, "rounds", 3, "rounds, of which medians are taken")
	f.StringVar(&cfg.Scratch, "scratch", "", "`folder` for 8 MB of temporary files (default: the system's)")
	f.BoolVar(&asJSON, "json", false, "print one JSON object, every run included")
	f.StringVar(&write, "write", "", "`file` to write that object to as well")
	return cmd
}

func (a *app) writeEncoder(report bench.EncoderReport, asJSON bool, write string) error {
	object, err := json.Marshal(report)
	if err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	if write != "" {
		if err := os.WriteFile(write, append(object, '\n'), 0o644); err != nil { //nolint:gosec // a measurement, for everybody
			return fmt.Errorf("writing the report: %w", err)
		}
	}
	if asJSON {
		a.printf("%s\n", object)
		return nil
	}
	report.Write(a.Out)
	return nil
}

func checkBenchEncoder(cfg bench.EncoderConfig) error {
	if cfg.ModelDir == "" || cfg.Layers < 0 || cfg.Rounds < 1 || cfg.Seconds <= 0 || cfg.Seconds > 60 {
		return errors.New("--model is needed; --layers must not be below 0, --rounds be above 0, --seconds be above 0 and at most 60")
	}
	return checkPrecisions(cfg.Precisions)
}

// benchWindow is one window, or several at once, in a process of its own.
func (a *app) benchWindow() *cobra.Command {
	var cfg bench.WindowConfig
	cmd := &cobra.Command{
		Use: "window", Short: "Encode a clip", Args: cobra.NoArgs, Hidden: true,
		Example: "  lark bench window --model random-5b --layers 3",
		RunE: func(cmd *cobra.Command, _ []string) error {
			run, err := bench.RunWindow(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			return json.NewEncoder(a.Out).Encode(run)
		},
	}
	f := cmd.Flags()
	f.StringVar(&cfg.ModelDir, "model", "", "bundle `folder`")
	f.StringVar((*string)(&cfg.Precision), "precision", string(tensor.F32), "arithmetic of the prior's products")
	f.Float64Var(&cfg.Seconds, "seconds", 25, "seconds of audio")
	f.IntVar(&cfg.Layers, "layers", 0, "layers to run")
	f.IntVar(&cfg.Windows, "windows", 1, "windows in flight at once")
	f.StringVar(&cfg.Codes, "codes", "", "`file` for the codes")
	f.StringVar(&cfg.Frames, "frames", "", "`file` for the frames")
	return cmd
}

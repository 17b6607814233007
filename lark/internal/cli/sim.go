package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/larkstream/larkstream/lab/sim"
)

// simFlags are what `lark sim` is asked for.
type simFlags struct {
	seeds         string
	seed          uint64
	parallel      int
	trace, asJSON bool
	log, first    bool
}

func (a *app) simCommand() *cobra.Command {
	var f simFlags
	cmd := &cobra.Command{
		Use: "sim", Short: "Simulate the pipeline with faults, and check that no question is lost or doubled", Args: cobra.NoArgs,
		Long: `Runs the real services under a virtual clock, with crashes, lost messages, full disks and other faults that a seed decides, and
checks the ledger's law: every question of every window of an accepted job ends in exactly one terminal outcome. Minutes pass in
milliseconds. The same seed brings the same faults again; with --trace it shows each step. Exit code 1 says that a seed found something.

It needs a build of its own: make bin/lark-sim.`,
		Example: "  make bin/lark-sim\n  bin/lark-sim sim --seeds 1-1000\n  bin/lark-sim sim --seed 17 --trace",
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.simulate(cmd.Context(), f) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.seeds, "seeds", "1-100", "first and last seed, with a hyphen between")
	flags.Uint64Var(&f.seed, "seed", 0, "run this seed alone")
	flags.IntVar(&f.parallel, "parallel", 1, "seeds at once; with 1 a run repeats step by step, as far as the scheduler of goroutines does")
	flags.BoolVar(&f.trace, "trace", false, "with --seed: print every step")
	flags.BoolVar(&f.first, "first", false, "end with the first seed that finds something")
	flags.BoolVar(&f.log, "log", false, "print the log of the services to standard error")
	flags.BoolVar(&f.asJSON, "json", false, "print one JSON object for each seed")
	return cmd
}

func (a *app) simulate(ctx context.Context, f simFlags) error {
	first, last, err := f.bounds()
	if err != nil {
		return usage(err)
	}
	if f.parallel == 1 {
		runtime.GOMAXPROCS(1) // what two processors do at one moment of the virtual clock has no order
	}
	var log io.Writer
	if f.log {
		log = a.Err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	total, failing := simTotals{Faults: make(map[string]int)}, 0
	err = sim.Seeds(ctx, first, last, f.parallel, sim.Options{Trace: f.trace, Log: log}, func(r sim.Result) {
		total.add(r)
		if len(r.Violations) > 0 {
			failing++
			if f.first {
				cancel()
			}
		}
		a.tellSeed(r, f)
	})
	if err != nil {
		return err
	}
	if !f.asJSON {
		a.printf("%s", total)
	}
	if failing > 0 {
		return errSilent
	}
	return nil
}

func (a *app) tellSeed(r sim.Result, f simFlags) {
	if f.asJSON {
		if raw, err := json.Marshal(r); err == nil {
			a.printf("%s\n", raw)
		}
		return
	}
	for _, step := range r.Trace {
		a.printf("%s\n", step)
	}
	for _, v := range r.Violations {
		a.printf("seed %d: %s\n", r.Seed, v)
	}
}

func (f simFlags) bounds() (first, last uint64, err error) {
	if f.parallel < 1 {
		return 0, 0, errors.New("--parallel must be above 0")
	}
	if f.seed > 0 {
		return f.seed, f.seed, nil
	}
	if f.trace {
		return 0, 0, errors.New("--trace needs --seed")
	}
	from, to, ok := strings.Cut(f.seeds, "-")
	first, errFirst := strconv.ParseUint(from, 10, 64)
	last, errLast := strconv.ParseUint(to, 10, 64)
	if !ok || errFirst != nil || errLast != nil || first < 1 || last < first {
		return 0, 0, fmt.Errorf("--seeds %q is not two rising numbers with a hyphen between, such as 1-1000", f.seeds)
	}
	return first, last, nil
}

// simTotals sums up seeds.
type simTotals struct {
	Seeds, Jobs, Outcomes, Failing int
	VirtualS                       float64
	Faults                         map[string]int
}

func (t *simTotals) add(r sim.Result) {
	t.Seeds++
	t.Jobs += r.Jobs
	t.Outcomes += r.Outcomes
	t.VirtualS += r.VirtualS
	if len(r.Violations) > 0 {
		t.Failing++
	}
	for kind, n := range r.Faults {
		t.Faults[kind] += n
	}
}

func (t simTotals) String() string {
	var b strings.Builder
	for _, kind := range sim.Kinds() {
		fmt.Fprintf(&b, "%8d  %s\n", t.Faults[kind], kind)
	}
	fmt.Fprintf(&b, "%d seeds, %.1f virtual hours, %d jobs, %d outcomes; %d seeds found something\n", t.Seeds, t.VirtualS/3600, t.Jobs, t.Outcomes, t.Failing)
	return b.String()
}

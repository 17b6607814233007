// Command bite simulates seeds, one after another, until one finds something, and prints what that is. lab/sim/bites.sh builds it with a known
// defect in it. Usage: bite SEED|FIRST-LAST...
package main

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"

	"github.com/larkstream/larkstream/lab/sim"
)

func main() {
	runtime.GOMAXPROCS(1) // as `lark sim --seed` does, so that both do the same
	found, err := run(os.Args[1:])
	if err != nil {
		fmt.Fprintln(os.Stderr, "bite:", err)
	}
	if found == "" {
		os.Exit(1)
	}
	fmt.Fprintln(os.Stdout, found)
}

func run(seeds []string) (found string, err error) {
	for _, s := range seeds {
		if found, err = bite(s); found != "" || err != nil {
			break
		}
	}
	return found, err
}

// bite tells the first breach of the law that a seed of the range finds; "" if there is none.
func bite(seeds string) (found string, err error) {
	from, to, ok := strings.Cut(seeds, "-")
	if !ok {
		to = from
	}
	first, err := strconv.ParseUint(from, 10, 64)
	if err != nil {
		return "", err
	}
	last, err := strconv.ParseUint(to, 10, 64)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	err = sim.Seeds(ctx, first, last, 1, sim.Options{}, func(r sim.Result) {
		if found == "" && len(r.Violations) > 0 {
			found = fmt.Sprintf("| %d | %s |", r.Seed, r.Violations[0])
			cancel()
		}
	})
	return found, err
}

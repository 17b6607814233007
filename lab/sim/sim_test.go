//go:build synctests

package sim

import (
	"os"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"
)

func setup(t *testing.T) scratch {
	t.Helper()
	s, err := newScratch()
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, os.RemoveAll(s.dir)) })
	return s
}

// TestASeedIsRepeated: the same seed gives the same history, step by step. One processor, because what two processors do at one moment of the
// virtual clock has no order.
func TestASeedIsRepeated(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	s := setup(t)
	for _, seed := range []uint64{2, 7} {
		first, err := simulate(t, seed, s, Options{Trace: true})
		require.NoError(t, err)
		require.NotEmpty(t, first.Faults)
		second, err := simulate(t, seed, s, Options{Trace: true})
		require.NoError(t, err)
		require.Equal(t, first, second)
	}
}

// TestTheLawHolds runs a few seeds; `make test-sim` runs more.
func TestTheLawHolds(t *testing.T) {
	require.NoError(t, Seeds(t.Context(), 1, 10, runtime.GOMAXPROCS(0), Options{}, func(r Result) {
		require.Emptyf(t, r.Violations, "seed %d; lark-sim --seed %d --trace shows it", r.Seed, r.Seed)
		require.NotZero(t, r.Outcomes)
	}))
}

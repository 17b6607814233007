//go:build synctests

package sim

import (
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestMany(t *testing.T) {
	first, _ := strconv.Atoi(os.Getenv("FIRST"))
	last, _ := strconv.Atoi(os.Getenv("LAST"))
	o := Options{}
	if first == last {
		o = Options{Trace: true, Log: os.Stderr}
	}
	err := Seeds(uint64(first), uint64(last), 1, o, func(r Result) {
		for _, l := range r.Trace {
			t.Log(l)
		}
		t.Log(r.Seed, r.Violations, r.VirtualS, r.Outcomes, len(r.Faults))
	})
	require.NoError(t, err)
}

package alloctest

import (
	"testing"

	"github.com/stretchr/testify/require"
)

var kept []byte

func TestBoundSeesWhatIsTaken(t *testing.T) { //nolint:paralleltest // measures the heap of the process
	take := func() { kept = make([]byte, 1<<20) }
	require.GreaterOrEqual(t, taken(roughly, take), uint64(1<<20))
	require.InDelta(t, 1<<20, taken(exactly, take), 1<<12)
	Bound(t, 1<<20, 1<<16, 1, take)
}

// Package alloctest bounds the memory that parsers take, for tests with hostile input.
package alloctest

import (
	"runtime"
	"runtime/metrics"
	"testing"

	"github.com/stretchr/testify/require"
)

// Bound fails the test if parse takes more memory from the heap than base bytes and perByte for each of n bytes of input. Memory that was given
// back counts as well, so the peak lies below. The heap is that of the process: no other goroutine may be at work. parse runs once or twice.
func Bound(t testing.TB, n, base, perByte int, parse func()) {
	t.Helper()
	bound := uint64(base + perByte*n)
	if taken(roughly, parse) <= bound {
		return
	}
	require.LessOrEqual(t, taken(exactly, parse), bound, "bytes allocated for an input of %d bytes", n)
}

func taken(allocated func() uint64, parse func()) uint64 {
	before := allocated()
	parse()
	return allocated() - before
}

// roughly is how many bytes the process has taken from the heap so far. It costs little, and counts small objects late: as many as a span of the
// heap holds at once, of those before as well.
func roughly() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	return sample[0].Value.Uint64()
}

// exactly is the same to the byte; it stops the process for a moment.
func exactly() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

//go:build unix

package tensor

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// A fault at an address that is not nil ends a Go process, unless it is guarded against.
func TestAFaultOfAKernelIsAnError(t *testing.T) {
	t.Parallel()
	page, err := syscall.Mmap(-1, 0, syscall.Getpagesize(), syscall.PROT_NONE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Munmap(page)) })
	_, err = fake("faulty", map[string]int{}, func(kr *kernel) {
		kr.tile = func(int, int, []float32, []float32, []float32) { page[0]++ }
	}).try()
	require.ErrorContains(t, err, "it faulted: runtime error: invalid memory address or nil pointer dereference")
}

package tensor

import (
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/cpu"
)

// A general protection fault inside of assembly, which is what a wrong configuration of AMX tiles raises, is an error too.
func TestAGeneralProtectionFaultOfAKernelIsAnError(t *testing.T) {
	t.Parallel()
	if !cpu.X86.HasAVX2 || !cpu.X86.HasFMA {
		t.Skip("the assembly that faults needs AVX2")
	}
	const apart = 1 << 60 // rows at addresses that the processor does not have
	_, err := fake("faulty", map[string]int{}, func(kr *kernel) {
		kr.dot4 = func(dst, x, w []float32) { dot4AVX2(dst, x, w, len(x)/8, apart) }
	}).try()
	require.ErrorContains(t, err, "it faulted")
}

func TestTheCheckFindsPairsThatAreWrong(t *testing.T) {
	t.Parallel()
	if !cpu.X86.HasAVX512BF16 {
		t.Skip("this processor multiplies no bfloat16")
	}
	for name, breaks := range map[string]func(ps *pairs){
		"tile": func(ps *pairs) {
			right := ps.tile
			ps.tile = func(depth, count int, a, b []uint32, c []float32) {
				right(depth, count, a, b, c)
				c[ps.mr*ps.nr-1]++
			}
		},
		"rows":   func(ps *pairs) { ps.rows[low] = ps.rows[high] },
		"halves": func(ps *pairs) { ps.halves[low] = ps.halves[high] },
	} {
		ps := vectorPairs()
		breaks(ps)
		require.ErrorIs(t, avx512(name, ps).check(), errWrong, name)
	}
}

package tensor

import (
	"bytes"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// fake is a candidate that counts how often it is opened and has one function broken.
func fake(name string, opened map[string]int, breaks func(kr *kernel)) candidate {
	return candidate{name, func() (*kernel, error) {
		opened[name]++
		kr := goKernel()
		kr.name = name
		breaks(kr)
		return kr, nil
	}}
}

func works(*kernel) {}

// faults reads through a nil pointer in the register tile.
func faults(kr *kernel) {
	var nowhere *float32
	kr.tile = func(_, _ int, _, _, c []float32) { c[0] = *nowhere }
}

func miscounts(kr *kernel) {
	right := kr.tile
	kr.tile = func(depth, count int, a, b, c []float32) {
		right(depth, count, a, b, c)
		c[kr.nr+3]++
	}
}

func TestAKernelThatFaultsOrIsWrongIsPassedOver(t *testing.T) {
	t.Parallel()
	opened := map[string]int{}
	denied := candidate{"denied", func() (*kernel, error) { return nil, errors.New("not permitted") }}
	list := []candidate{fake("faulty", opened, faults), fake("wrong", opened, miscounts), denied, fake("right", opened, works), fake("slow", opened, works)}
	c := choose(list, "")
	require.Equal(t, "right", c.kernel.name)
	require.ErrorContains(t, c.passedOver, "trying the matrix kernel faulty: it faulted: runtime error: invalid memory address")
	require.ErrorIs(t, c.passedOver, errWrong)
	require.ErrorContains(t, c.passedOver, "trying the matrix kernel wrong: its results differ")
	require.ErrorContains(t, c.passedOver, "trying the matrix kernel denied: not permitted")
	require.Equal(t, map[string]int{"faulty": 1, "wrong": 1, "right": 1}, opened, "slower kernels are not tried")
	require.NoError(t, choose(list[3:], "").passedOver)
}

func TestTheKernelAskedForIsTriedAlone(t *testing.T) {
	t.Parallel()
	opened := map[string]int{}
	list := []candidate{fake("fast", opened, works), fake("slow", opened, works)}
	c := choose(list, "slow")
	require.Equal(t, "slow", c.kernel.name)
	require.NoError(t, c.passedOver)
	require.Equal(t, map[string]int{"slow": 1}, opened)
}

func TestTheFastestKernelThatWorksStandsInForOneAskedForInVain(t *testing.T) {
	t.Parallel()
	opened := map[string]int{}
	list := []candidate{fake("fast", opened, works), fake("faulty", opened, faults)}
	c := choose(list, "faulty")
	require.Equal(t, "fast", c.kernel.name)
	require.ErrorContains(t, c.passedOver, "faulty: it faulted")
	require.Equal(t, map[string]int{"fast": 1, "faulty": 1}, opened, "it is not tried again")

	c = choose(list, "abacus")
	require.Equal(t, "fast", c.kernel.name)
	require.ErrorContains(t, c.passedOver, `LARK_KERNEL="abacus" is not available here (have [fast faulty])`)
}

func TestPlainGoIsLeftWhenNothingWorks(t *testing.T) {
	t.Parallel()
	c := choose([]candidate{fake("faulty", map[string]int{}, faults)}, "")
	require.Equal(t, "go", c.kernel.name)
	require.ErrorContains(t, c.passedOver, "faulty")
}

// Each function of a kernel, when it is wrong, fails the check.
func TestTheCheckFindsEachFunctionThatIsWrong(t *testing.T) {
	t.Parallel()
	for name, breaks := range map[string]func(kr *kernel){
		"tile": miscounts,
		"dot4": func(kr *kernel) { kr.dot4 = func(dst, _, _ []float32) { clear(dst) } },
		"weigh": func(kr *kernel) {
			kr.weigh = func(dst, weights, rows []float32) { weighGo(dst[:len(dst)-1], weights, rows) }
		},
		"exp":         func(kr *kernel) { kr.exp = func(x []float32) { expGo(x[1:]) } },
		"swish":       func(kr *kernel) { kr.swish = func(x []float32, _ float32) { swishGo(x, -1) } },
		"deviations":  func(kr *kernel) { kr.deviations = func(x []float32, _ float64) float64 { return deviationsGo(x, 0.5) } },
		"squares":     func(kr *kernel) { kr.squares = func(x []float32, _ float64) float64 { return squaresGo(x, 0) } },
		"standardise": func(kr *kernel) { kr.standardise = func(dst, x, _, _ []float32, _, _ float32) { copy(dst, x) } },
		"add":         func(kr *kernel) { kr.add = func(dst, x []float32) { addGo(dst[1:], x) } },
		"greatest":    func(kr *kernel) { kr.greatest = func(x []float32) float32 { return greatestGo(x[1:4]) } },
		"expSum":      func(kr *kernel) { kr.expSum = func(x []float32, high float32) float32 { return expSumGo(x[1:], high) } },
		"sum":         func(kr *kernel) { kr.expSum = func(x []float32, high float32) float32 { return 2 * expSumGo(x, high) } },
		"scale":       func(kr *kernel) { kr.scale = func(x []float32, by float32) { scaleGo(x[1:], by) } },
		"gelu":        func(kr *kernel) { kr.gelu = ReLU },
		"spread":      func(kr *kernel) { kr.spread = func(dst, from []float32, _ int) { copy(dst, from) } },
		"interleave": func(kr *kernel) {
			kr.interleave = func(dst, x []float32, stride, apart, depth int) { interleaveGo(dst, x, stride, apart, depth-1) }
		},
		"halves": func(kr *kernel) { kr.halves = func(dst []float32, src []byte) { halvesGo(dst[:len(dst)-1], src) } },
	} {
		_, err := fake(name, map[string]int{}, breaks).try()
		require.ErrorIs(t, err, errWrong, name)
	}
	_, err := fake("right", map[string]int{}, works).try()
	require.NoError(t, err)
}

// A process that imports the package and uses no product tries no kernel; the first product tries them once.
func TestKernelsAreTriedOnceAndWhenFirstNeeded(t *testing.T) {
	t.Parallel()
	if os.Getenv("LARK_TEST_TRIES") != "" {
		require.Zero(t, tries.Load(), "before any product")
		for range 3 {
			Softmax([]float32{1, 2})
			MatMulT(make([]float32, 1), []float32{1}, []float32{1}, 1, 1, 1)
		}
		require.Equal(t, int64(1), tries.Load())
		return
	}
	// The other tests of this process use products: a child of its own uses none.
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestKernelsAreTriedOnceAndWhenFirstNeeded$", "-test.v")
	child.Env = append(os.Environ(), "LARK_TEST_TRIES=1", KernelEnv+"=go")
	out, err := child.CombinedOutput()
	require.NoError(t, err, string(out))
	require.Contains(t, string(out), "--- PASS")
}

func TestTheLogNamesTheKernel(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	LogKernel(slog.New(slog.NewTextHandler(&out, nil)))
	name, _ := Kernel()
	require.Contains(t, out.String(), "kernel="+name)
}

func TestKernelNamesTheOneInUse(t *testing.T) {
	t.Parallel()
	name, _ := Kernel() // the tests may run with a kernel that this machine does not have
	require.Contains(t, Kernels(), name)
}

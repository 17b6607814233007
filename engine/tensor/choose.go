package tensor

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
)

// KernelEnv names the environment variable that overrides the choice of kernel: go, avx2, avx512, avx512bf16 or amx.
const KernelEnv = "LARK_KERNEL"

// candidate is a kernel whose instructions the processor has and the system permits the processor to run, as CPUID and XCR0 tell. An
// illegal instruction could not be recovered from, so a kernel with one must not become a candidate.
type candidate struct {
	name string
	// open makes the kernel. The error says why the system does not let this process run it.
	open func() (*kernel, error)
}

// choice is the kernel of a process.
type choice struct {
	kernel *kernel
	// passedOver says why a kernel that is faster, or was asked for, is not used.
	passedOver error
}

// chosen is the kernel of this process. It is chosen and checked when the first product needs it.
var chosen = sync.OnceValue(func() choice { return choose(candidates(), os.Getenv(KernelEnv)) })

func active() *kernel { return chosen().kernel }

// Kernel names the kernel in use. The error says why the kernel that KernelEnv names, or a faster one, is passed over: the processor or
// the system does not have it, or it faulted or gave wrong results when it was tried. Results are right all the same.
func Kernel() (name string, passedOver error) { return chosen().kernel.name, chosen().passedOver }

// LogKernel logs which kernel is in use, and why others are passed over.
func LogKernel(log *slog.Logger) {
	name, passedOver := Kernel()
	if passedOver != nil {
		log.Warn("a matrix kernel is passed over; results are right, but slower", "kernel", name, "reason", passedOver)
		return
	}
	log.Info("matrix kernel chosen", "kernel", name)
}

// Kernels names those that the processor has the instructions for, fastest first. Not all have been tried.
func Kernels() []string { return names(candidates()) }

func names(list []candidate) []string {
	var names []string
	for _, c := range list {
		names = append(names, c.name)
	}
	return names
}

// choose tries the kernel of that name alone; if there is none or it does not work, or without a name, it tries all from the fastest on
// until one works. Plain Go, with which all are compared, stands in when none does.
func choose(list []candidate, name string) choice {
	var passed []error
	if name != "" {
		at := slices.IndexFunc(list, func(c candidate) bool { return c.name == name })
		if at < 0 {
			passed = append(passed, fmt.Errorf("choosing the matrix kernel: %s=%q is not available here (have %v)", KernelEnv, name, names(list)))
		} else {
			kr, err := list[at].try()
			if err == nil {
				return choice{kernel: kr}
			}
			passed = append(passed, err)
			list = slices.Delete(slices.Clone(list), at, at+1)
		}
	}
	for _, c := range list {
		kr, err := c.try()
		if err == nil {
			return choice{kr, errors.Join(passed...)}
		}
		passed = append(passed, err)
	}
	return choice{goKernel(), errors.Join(passed...)}
}

// tries counts the kernels that this process tried.
var tries atomic.Int64

// try opens the kernel and checks its results.
func (c candidate) try() (*kernel, error) {
	tries.Add(1)
	var kr *kernel
	err := guarded(func() (err error) {
		if kr, err = c.open(); err != nil {
			return err
		}
		return kr.check()
	})
	if err != nil {
		return nil, fmt.Errorf("trying the matrix kernel %s: %w", c.name, err)
	}
	return kr, nil
}

// guarded turns a fault of do, as of an address or a general protection fault, into an error. do runs on a thread of its own, which ends
// after a fault with whatever the fault left in its registers, and must start no goroutine: the guard is the goroutine's.
func guarded(do func() error) error {
	result := make(chan error)
	go func() {
		runtime.LockOSThread()
		debug.SetPanicOnFault(true)
		defer func() {
			if fault := recover(); fault != nil {
				result <- fmt.Errorf("it faulted: %v", fault)
			}
		}()
		err := do()
		runtime.UnlockOSThread()
		result <- err
	}()
	return <-result
}

package tensor

import "sync"

// kernels are those that work here, fastest first. TestTheCheckPassesEveryKernelThatTheSystemPermits finds one that should and does not.
var kernels = sync.OnceValue(func() []*kernel {
	var list []*kernel
	for _, c := range candidates() {
		if kr, err := c.try(); err == nil {
			list = append(list, kr)
		}
	}
	return list
})

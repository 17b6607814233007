//go:build !amd64

package tensor

// kernels lists the kernels that this machine can run, fastest first.
func kernels() []*kernel { return []*kernel{goKernel()} }

func refused() error { return nil }

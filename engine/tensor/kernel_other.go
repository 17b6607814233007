//go:build !amd64

package tensor

// candidates lists the kernels that this processor has the instructions for, fastest first.
func candidates() []candidate {
	return []candidate{{"go", func() (*kernel, error) { return goKernel(), nil }}}
}

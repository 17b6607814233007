package native

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
)

// The messages are glibc 2.36's.
func TestRemedies(t *testing.T) {
	t.Parallel()
	for message, want := range map[string]string{
		"/lib/x86_64-linux-gnu/libc.so.6: version `GLIBC_2.34' not found (required by libggml-base.so)":      "glibc 2.34 or newer",
		"/lib/x86_64-linux-gnu/libstdc++.so.6: version `GLIBCXX_3.4.30' not found (required by libllama.so)": "newer libstdc++",
		"libstdc++.so.6: cannot open shared object file: No such file or directory":                          "install libstdc++6",
		"libcudart.so.13: cannot open shared object file: No such file or directory":                         "make native-cuda12",
		"libcublas.so.12: cannot open shared object file: No such file or directory":                         "CUDA 12 runtime",
		"libcuda.so.1: cannot open shared object file: No such file or directory":                            "NVIDIA's driver",
		"libvulkan.so.1: cannot open shared object file: No such file or directory":                          "libvulkan1",
		"libggml.v0.5.0.so: undefined symbol: ggml_backend_reg_name":                                         "do not belong together",
	} {
		cause := errors.New(message)
		err := explain(cause)
		require.ErrorIs(t, err, cause)
		require.ErrorContains(t, err, want)
	}
	other := errors.New("permission denied")
	require.Equal(t, other, explain(other))
}

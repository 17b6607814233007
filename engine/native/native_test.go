package native_test

import (
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/engine/native"
	"github.com/larkstream/larkstream/engine/native/nativetest"
)

func quiet() native.Deps { return native.Deps{Log: slog.New(slog.DiscardHandler)} }

// needLinux skips where the names of libraries and the compiler's flags differ.
func needLinux(t *testing.T) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("the files are made for Linux")
	}
}

func TestNoLibraries(t *testing.T) {
	t.Parallel()
	for name, dir := range map[string]string{"empty": t.TempDir(), "no folder": filepath.Join(t.TempDir(), "none")} {
		_, err := native.Open(dir, quiet())
		require.ErrorIs(t, err, native.ErrMissing, name)
		require.ErrorContains(t, err, "make native", name)
	}
	_, err := native.Open(t.TempDir(), native.Deps{})
	require.ErrorContains(t, err, "log")
}

func TestDefaultDirIsBesideTheExecutable(t *testing.T) {
	t.Parallel()
	exe, err := os.Executable()
	require.NoError(t, err)
	dir, err := native.Dir("")
	require.NoError(t, err)
	want, err := filepath.EvalSymlinks(filepath.Dir(exe))
	require.NoError(t, err)
	require.Equal(t, filepath.Join(want, "native", "cpu"), dir)
}

func TestOpenOnce(t *testing.T) {
	t.Parallel()
	dir := nativetest.Dir(t)
	l := nativetest.Open(t)
	require.Equal(t, native.GGMLVersion, l.GGML)
	require.Contains(t, l.Llama, native.LlamaVersion)
	require.NotEmpty(t, l.Commit)
	again, err := native.Open(dir+"/../"+filepath.Base(dir), quiet())
	require.NoError(t, err)
	require.Same(t, l, again)
	_, err = native.Open(copied(t, dir), quiet())
	require.ErrorContains(t, err, "loaded already")
}

// copied is a folder with links to the files of dir.
func copied(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	entries, err := os.ReadDir(dir)
	require.NoError(t, err)
	for _, e := range entries {
		require.NoError(t, os.Symlink(filepath.Join(dir, e.Name()), filepath.Join(to, e.Name())))
	}
	return to
}

// The faults below end the opening of a folder in a process that has nothing open: each in a process of its own, which must
// end with an error, not with a signal.
func TestRefusals(t *testing.T) {
	t.Parallel()
	needLinux(t)
	dir := nativetest.Dir(t)
	replace := func(name string, make func(t *testing.T, path string)) func(t *testing.T) string {
		return func(t *testing.T) string {
			to := copied(t, dir)
			require.NoError(t, os.Remove(filepath.Join(to, name)))
			make(t, filepath.Join(to, name))
			return to
		}
	}
	cut := func(part int64) func(t *testing.T, path string) {
		return func(t *testing.T, path string) { truncated(t, filepath.Join(dir, filepath.Base(path)), path, part) }
	}
	text := func(t *testing.T, path string) {
		require.NoError(t, os.WriteFile(path, []byte("not a library"), 0o600))
	}
	source := func(code string) func(t *testing.T, path string) {
		return func(t *testing.T, path string) { compiled(t, code, path) }
	}
	const base, llama = "libggml-base.so", "libllama.v0.5.0.so"
	for name, c := range map[string]struct {
		folder func(t *testing.T) string
		want   []string
	}{
		"truncated":       {replace(base, cut(3)), []string{base, "damaged"}},
		"nearly complete": {replace(llama, cut(100)), []string{llama, "damaged"}},
		"no library":      {replace(base, text), []string{base, "damaged"}},
		"other library":   {replace(base, source(`int nothing;`)), []string{"ggml_version", "not those"}},
		"other ggml": {replace(base, source(`
			const char *ggml_version(void) { return "0.9.7"; } const char *ggml_commit(void) { return "x"; }
			unsigned long ggml_tensor_overhead(void) { return 368; }`)), []string{"0.9.7", native.GGMLVersion}},
		"larger tensors": {replace(base, source(`
			const char *ggml_version(void) { return "0.25.1"; } const char *ggml_commit(void) { return "x"; }
			unsigned long ggml_tensor_overhead(void) { return 400; }`)), []string{"400", "368"}},
		"other llama": {replace(llama, source(`const char *llama_version(void) { return "0.6.0"; }`)), []string{"0.6.0", native.LlamaVersion}},
		"larger structure": {
			replace(llama, source(`
			const char *llama_version(void) { return "0.5.0"; }
			struct big { long v[40]; }; struct big fill(void) { struct big b; for (int i = 0; i < 40; i++) b.v[i] = i + 1; return b; }
			struct big llama_model_default_params(void) { return fill(); }
			struct big llama_context_default_params(void) { return fill(); }
			struct big llama_model_quantize_default_params(void) { return fill(); }`)),
			[]string{"llama_model_default_params", "larger"},
		},
		"other defaults": {
			replace(llama, source(`
			const char *llama_version(void) { return "0.5.0"; }
			struct m { long v[10]; }; struct c { long v[20]; }; struct q { long v[8]; };
			struct m llama_model_default_params(void) { struct m r = {{0}}; return r; }
			struct c llama_context_default_params(void) { struct c r = {{0}}; return r; }
			struct q llama_model_quantize_default_params(void) { struct q r = {{0}}; return r; }`)),
			[]string{"llama_model_default_params gives", "GPULayers:-1"},
		},
		"two sets": {func(t *testing.T) string {
			to := copied(t, dir)
			require.NoError(t, os.Symlink(filepath.Join(dir, llama), filepath.Join(to, "libllama.vulkan.v0.5.0.so")))
			return to
		}, []string{"several", "libllama.vulkan.v0.5.0.so"}},
		"no backend": {func(t *testing.T) string {
			to := copied(t, dir)
			backends, err := filepath.Glob(filepath.Join(to, "libggml-cpu*"))
			require.NoError(t, err)
			for _, b := range backends {
				require.NoError(t, os.Remove(b))
			}
			return to
		}, []string{"no backend"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := openApart(t, c.folder(t))
			for _, w := range c.want {
				require.Contains(t, out, w)
			}
		})
	}
}

const apartEnv = "LARK_NATIVE_TEST_OPEN"

// TestMain opens a folder and prints the error when openApart asks for it.
func TestMain(m *testing.M) {
	dir := os.Getenv(apartEnv)
	if dir == "" {
		os.Exit(m.Run()) //nolint:forbidigo // this is main
	}
	if _, err := native.Open(dir, quiet()); err != nil {
		_, _ = io.WriteString(os.Stdout, "refused: "+err.Error())
	}
	os.Exit(0) //nolint:forbidigo // this is main
}

func openApart(t *testing.T, dir string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), apartEnv+"="+dir)
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, "%s", out)
	require.Contains(t, string(out), "refused: ")
	return string(out)
}

// truncated writes the first (part-1)/part of a file.
func truncated(t *testing.T, from, to string, part int64) {
	t.Helper()
	content, err := os.ReadFile(from)
	require.NoError(t, err)
	n := int64(len(content))
	require.NoError(t, os.WriteFile(to, content[:n-n/part], 0o600))
}

func compiled(t *testing.T, code, path string) {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("gcc makes the library of this test")
	}
	source := filepath.Join(t.TempDir(), "library.c")
	require.NoError(t, os.WriteFile(source, []byte(code), 0o600))
	out, err := exec.CommandContext(t.Context(), gcc, "-shared", "-fPIC", "-o", path, source).CombinedOutput()
	require.NoError(t, err, "%s", out)
}

package native

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Remedy says how to get the libraries.
const Remedy = "run `make native`, or name their folder with LARK_NATIVE_DIR (native_dir)"

// Variant is the set of libraries used on this platform unless a folder is named: for the processor alone.
const Variant = "cpu"

// Dir is the folder that Open loads from: dir made absolute, or native/cpu beside the running executable when dir is empty.
// It need not exist.
func Dir(dir string) (string, error) {
	if dir != "" {
		return absolute(dir)
	}
	exe, err := os.Executable()
	if err != nil {
		return "", fmt.Errorf("finding the folder of llama.cpp's libraries: %w", err)
	}
	if exe, err = filepath.EvalSymlinks(exe); err != nil {
		return "", fmt.Errorf("finding the folder of llama.cpp's libraries: %w", err)
	}
	return absolute(filepath.Join(filepath.Dir(exe), "native", Variant))
}

func extension() string {
	if runtime.GOOS == "darwin" {
		return ".dylib"
	}
	return ".so"
}

// files are the paths of the libraries in dir, by Part. Packages name them libggml.v0.5.0.so and
// libggml.vulkan.v0.5.0.so, an own build libggml.so.
func files(dir string) (paths [3]string, err error) {
	for part, name := range []string{Base: "libggml-base", GGML: "libggml", Llama: "libllama"} {
		paths[part], err = find(dir, name)
		if err != nil {
			return paths, err
		}
	}
	return paths, nil
}

func find(dir, name string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", fmt.Errorf("%w (%w): %s", ErrMissing, err, Remedy)
	}
	var found []string
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), name+".") && strings.HasSuffix(e.Name(), extension()) {
			found = append(found, e.Name())
		}
	}
	switch len(found) {
	case 0:
		return "", fmt.Errorf("%w (no %s%s): %s", ErrMissing, name, extension(), Remedy)
	case 1:
		return filepath.Join(dir, found[0]), nil
	}
	return "", fmt.Errorf("%w: the folder holds several sets (%s): keep one", ErrMismatch, strings.Join(found, ", "))
}

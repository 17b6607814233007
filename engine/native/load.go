//go:build (linux || darwin) && (amd64 || arm64)

package native

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/ebitengine/purego"

	"github.com/larkstream/larkstream/engine/native/internal/abi"
)

// Function is a function of a library and the Go function variable that it is bound to.
type Function struct {
	Part   Part
	Symbol string
	Target any // pointer to a func variable
}

// Bind gives the functions to their targets. The error names all symbols that the libraries lack.
// Only the packages below this one call it: a wrong signature is undefined behaviour.
func (l *Library) Bind(functions []Function) error {
	var missing []string
	for _, f := range functions {
		address, err := purego.Dlsym(l.handles[f.Part], f.Symbol)
		if err != nil {
			missing = append(missing, f.Symbol)
			continue
		}
		purego.RegisterFunc(f.Target, address)
	}
	if len(missing) > 0 {
		return fmt.Errorf("%w: no %s", ErrMismatch, strings.Join(missing, ", "))
	}
	return nil
}

// Address is where a function lies, for the structures of the C interface that hold function pointers.
func (l *Library) Address(part Part, symbol string) (uintptr, error) {
	address, err := purego.Dlsym(l.handles[part], symbol)
	if err != nil {
		return 0, fmt.Errorf("%w: no %s", ErrMismatch, symbol)
	}
	return address, nil
}

// BindAddress gives the function at address, which a library named, to target.
func BindAddress(target any, address uintptr) { purego.RegisterFunc(target, address) }

func open(dir string, paths [3]string, log *slog.Logger) (*Library, error) {
	l := &Library{Dir: dir, logs: &sink{log: log}}
	if err := l.loadChecked(paths); err != nil {
		l.unload()
		return nil, err
	}
	if l.Commit != abi.Commit {
		log.Warn("llama.cpp's libraries are another build of the same version", "commit", l.Commit, "tested", abi.Commit)
	}
	// From here on nothing is unloaded: the callback of the log is in the libraries' hands.
	if err := l.start(); err != nil {
		return nil, err
	}
	return l, nil
}

// loadChecked loads the libraries in their order and checks each before the next.
func (l *Library) loadChecked(paths [3]string) error {
	if err := l.load(Base, paths[Base]); err != nil {
		return err
	}
	if err := l.checkGGML(); err != nil {
		return err
	}
	if err := l.load(GGML, paths[GGML]); err != nil {
		return err
	}
	if err := l.load(Llama, paths[Llama]); err != nil {
		return err
	}
	return l.checkLlama()
}

func (l *Library) load(part Part, path string) error {
	if err := whole(path); err != nil {
		return fmt.Errorf("loading %s: %w", filepath.Base(path), err)
	}
	handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_GLOBAL)
	if err != nil {
		return fmt.Errorf("loading %s: %w", filepath.Base(path), explain(err))
	}
	l.handles[part] = handle
	return nil
}

// unload closes what was loaded, last first.
func (l *Library) unload() {
	for part := len(l.handles) - 1; part >= 0; part-- {
		if l.handles[part] != 0 {
			_ = purego.Dlclose(l.handles[part])
		}
	}
}

func (l *Library) checkGGML() error {
	var version, commit func() string
	var overhead func() uintptr
	if err := l.Bind([]Function{
		{Base, "ggml_version", &version}, {Base, "ggml_commit", &commit}, {Base, "ggml_tensor_overhead", &overhead},
	}); err != nil {
		return err
	}
	l.GGML, l.Commit = version(), commit()
	if l.GGML != abi.GGMLVersion {
		return fmt.Errorf("%w: ggml is %q, not %s: %s", ErrMismatch, l.GGML, abi.GGMLVersion, Remedy)
	}
	if n := overhead(); n != abi.TensorOverhead {
		return fmt.Errorf("%w: ggml's tensors take %d bytes, not %d", ErrMismatch, n, abi.TensorOverhead)
	}
	return nil
}

func (l *Library) checkLlama() error {
	var version func() string
	if err := l.Bind([]Function{{Llama, "llama_version", &version}}); err != nil {
		return err
	}
	l.Llama = version()
	// Unless LLAMA_BUILD_IS_DEV is turned off, as npm's builders do not, the release calls itself 0.5.0-dev.
	if strings.TrimSuffix(l.Llama, "-dev") != abi.LlamaVersion {
		return fmt.Errorf("%w: llama.cpp is %q, not %s: %s", ErrMismatch, l.Llama, abi.LlamaVersion, Remedy)
	}
	return errors.Join(
		checkDefaults(l, "llama_model_default_params", abi.DefaultModel()),
		checkDefaults(l, "llama_context_default_params", abi.DefaultContext()),
		checkDefaults(l, "llama_model_quantize_default_params", abi.DefaultQuantize()),
	)
}

// checkDefaults reads a structure of parameters back. Structures over 16 bytes are returned through a pointer to
// memory of the caller, so one that is larger than expected is seen in the guard behind it.
func checkDefaults[T comparable](l *Library, symbol string, want T) error {
	var defaults func() abi.Guarded[T]
	if err := l.Bind([]Function{{Llama, symbol, &defaults}}); err != nil {
		return err
	}
	got := defaults()
	if !got.Clean() {
		return fmt.Errorf("%w: the structure of %s is larger than %T", ErrMismatch, symbol, want)
	}
	if got.Value != want {
		return fmt.Errorf("%w: %s gives %+v, not %+v", ErrMismatch, symbol, got.Value, want)
	}
	return nil
}

// start hands the libraries their log and lets them find the backends in the folder.
func (l *Library) start() error {
	var logSet func(callback, data uintptr)
	var loadAll func(dir string)
	var initialise func()
	var devices func() uintptr
	if err := l.Bind([]Function{
		{Llama, "llama_log_set", &logSet},
		{Llama, "llama_backend_init", &initialise},
		{GGML, "ggml_backend_load_all_from_path", &loadAll},
		{GGML, "ggml_backend_dev_count", &devices},
	}); err != nil {
		return err
	}
	logSet(purego.NewCallback(l.logs.receive), 0)
	loadAll(l.Dir)
	initialise()
	l.Problems = l.unusedBackends()
	for _, p := range l.Problems {
		l.logs.log.Warn("backend cannot be used", "reason", p)
	}
	if devices() == 0 {
		return fmt.Errorf("no backend in the folder can be used on this machine: remove it and run `make native`%s", strings.Join(append([]string{""}, l.Problems...), "; "))
	}
	return nil
}

// unusedBackends looks at the accelerators' libraries in the folder. The libraries pass over those that do not load
// without a word.
func (l *Library) unusedBackends() (problems []string) {
	for _, name := range []string{"cuda", "vulkan", "metal"} {
		path := filepath.Join(l.Dir, "libggml-"+name+".so") // on macOS too
		if _, err := os.Stat(path); err != nil {
			continue
		}
		handle, err := purego.Dlopen(path, purego.RTLD_NOW|purego.RTLD_LOCAL)
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s: %v", name, explain(err)))
			continue
		}
		_ = purego.Dlclose(handle)
	}
	return problems
}

package doctor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"github.com/larkstream/larkstream/engine/native"
	"github.com/larkstream/larkstream/engine/native/ggml"
)

// Device is something that llama.cpp's libraries compute on.
type Device struct {
	Name        string `json:"name"`
	Description string `json:"description"`
	Kind        string `json:"kind"`
	// FreeBytes and TotalBytes of its memory; 0 where it does not say.
	FreeBytes  uint64 `json:"free_bytes"`
	TotalBytes uint64 `json:"total_bytes"`
}

func (d Device) String() string {
	return fmt.Sprintf("%s (%s, %.1f of %.1f GB free)", d.Name, d.Description, float64(d.FreeBytes)/1e9, float64(d.TotalBytes)/1e9)
}

// nativeLibraries looks for llama.cpp's libraries, which GGUF models and GPUs need and nothing else.
func nativeLibraries(_ context.Context, cfg Config) Finding {
	f := Finding{Check: "native", State: OK}
	dir := cfg.Env("LARK_NATIVE_DIR")
	libraries, err := ggml.Open(dir, slog.New(slog.DiscardHandler))
	switch {
	case dir == "" && (errors.Is(err, native.ErrMissing) || errors.Is(err, native.ErrUnsupported)):
		f.Detail = fmt.Sprintf("%v; only GGUF models and GPUs need them", err)
		return f
	case err != nil:
		f.State, f.Detail, f.Remedy = Fail, err.Error(), native.Remedy
		return f
	}
	var names []string
	for _, d := range libraries.Devices() {
		free, total := d.Memory()
		f.Devices = append(f.Devices, Device{Name: d.Name, Description: d.Description, Kind: d.Kind.String(), FreeBytes: free, TotalBytes: total})
		names = append(names, f.Devices[len(f.Devices)-1].String())
	}
	n := libraries.Native()
	f.Detail = fmt.Sprintf("llama.cpp %s, ggml %s (%s) in %s; devices: %s", n.Llama, n.GGML, n.Commit, n.Dir, strings.Join(names, ", "))
	if len(n.Problems) > 0 {
		f.State, f.Remedy = Warn, strings.Join(n.Problems, "; ")
	}
	return f
}

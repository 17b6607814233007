package llamacpp

import (
	"fmt"

	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/native/llama"
)

// loadChecked has llama.cpp load a GGUF that our reader has checked. llama.cpp trusts more of what a header claims, and a fault in native code takes the
// process down.
func loadChecked(lib *llama.Library, path string, options llama.ModelOptions) (*llama.Model, error) {
	file, err := gguf.Open(path)
	if err != nil {
		return nil, fmt.Errorf("loading model: checking it before llama.cpp does: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("loading model: checking it before llama.cpp does: %w", err)
	}
	return lib.LoadModel(path, options)
}

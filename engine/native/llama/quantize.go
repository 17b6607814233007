package llama

import (
	"fmt"
	"os"

	"github.com/larkstream/larkstream/engine/native/internal/abi"
)

// FileType is how a model's weights are stored (llama_ftype).
type FileType int32

// The ways to store weights that are used here.
const (
	FileQ8_0   FileType = 7
	FileQ4_K_M FileType = 15
)

// QuantizeOptions say how to store the weights.
type QuantizeOptions struct {
	Type    FileType
	Threads int // 0: one for each processor
	// Requantize allows input that is not f32, f16 or bf16.
	Requantize bool
}

// Quantize writes the GGUF file in as out with its weights in another format. It takes a tensor at a time in memory, and runs
// to its end.
func (l *Library) Quantize(in, out string, o QuantizeOptions) error {
	if _, err := os.Stat(in); err != nil {
		return fmt.Errorf("quantizing: %w", err)
	}
	params := abi.DefaultQuantize()
	params.FileType, params.Threads, params.AllowRequantize = int32(o.Type), int32(o.Threads), o.Requantize
	var rc uint32
	reason := l.native.Explain(func() bool {
		rc = l.c.quantize(in, out, &params)
		return rc == 0
	})
	if rc != 0 {
		return fmt.Errorf("quantizing %s: %s", in, orUnknown(reason))
	}
	return nil
}

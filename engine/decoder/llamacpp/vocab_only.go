package llamacpp

import (
	"errors"
	"fmt"
	"log/slog"

	"github.com/larkstream/larkstream/engine/decoder/prompt"
	"github.com/larkstream/larkstream/engine/native/llama"
)

// OpenVocabulary loads the tokenizer of a GGUF and nothing else of it, for decoders that run elsewhere. release frees it; it must be the
// last call. nativeDir is as in Config.
func OpenVocabulary(path, nativeDir string, log *slog.Logger) (_ prompt.Vocabulary, release func() error, err error) {
	lib, err := llama.Open(nativeDir, log)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the tokenizer in %s: %w", path, err)
	}
	m, err := loadChecked(lib, path, llama.ModelOptions{CPUOnly: true, VocabOnly: true})
	if err != nil {
		return nil, nil, fmt.Errorf("opening the tokenizer: %w", err)
	}
	v, err := newVocabulary(m)
	if err != nil {
		return nil, nil, errors.Join(err, m.Close())
	}
	return v, m.Close, nil
}

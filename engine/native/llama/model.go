package llama

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync"

	"github.com/larkstream/larkstream/engine/native/internal/abi"
)

// ModelOptions say how to load a model.
type ModelOptions struct {
	// CPUOnly keeps all layers on the processor; else all layers go to the devices that are there.
	CPUOnly bool
	// VocabOnly loads the vocabulary alone: no context can be made.
	VocabOnly bool
	// CheckTensors looks for values that are not finite while loading.
	CheckTensors bool
	// NoRepack keeps the weights as they lie in the file, mapped, instead of in layouts made for this processor.
	NoRepack bool
}

// Model is a loaded GGUF file. It may be used by several goroutines; Close must be the last call.
type Model struct {
	lib   *Library
	vocab *Vocab

	mu       sync.Mutex
	c        uintptr
	contexts int
}

// LoadModel loads a GGUF file. The error names what llama.cpp found wrong.
func (l *Library) LoadModel(path string, o ModelOptions) (*Model, error) {
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("loading model: %w", err)
	}
	if strings.ContainsRune(path, 0) {
		return nil, errors.New("loading model: the path has a NUL byte")
	}
	params := abi.DefaultModel()
	params.VocabOnly, params.CheckTensors, params.ExtraBuffers = o.VocabOnly, o.CheckTensors, !o.NoRepack
	if o.CPUOnly {
		params.GPULayers = 0
	}
	var c uintptr
	reason := l.native.Explain(func() bool {
		c = l.c.modelLoad(path, params)
		return c != 0
	})
	if c == 0 {
		return nil, fmt.Errorf("loading model %s: %s", path, orUnknown(reason))
	}
	m := &Model{lib: l, c: c}
	m.vocab = newVocab(l, l.c.modelVocab(c))
	return m, nil
}

func orUnknown(reason string) string {
	if reason == "" {
		return "llama.cpp gives no reason"
	}
	return reason
}

// Close frees the model. It is refused while contexts of the model are open. Its vocabulary must not be used any more.
func (m *Model) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.contexts > 0 {
		return fmt.Errorf("closing model: %d contexts are open", m.contexts)
	}
	if m.c != 0 {
		m.lib.c.modelFree(m.c)
		m.c, m.vocab.c = 0, 0
	}
	return nil
}

// Vocab is the model's vocabulary, which lives as long as the model.
func (m *Model) Vocab() *Vocab { return m.vocab }

// Width is the length of the vectors that the model takes in place of tokens.
func (m *Model) Width() int { return int(m.lib.c.modelEmbdInput(m.c)) }

// Shape is what the file says about the model.
type Shape struct {
	Context int // positions that the model was trained for
	Width   int // embedding length
	Layers  int
	Heads   int
	HeadsKV int    // heads of keys and values
	Tokens  int    // size of the vocabulary
	Bytes   uint64 // all tensors
	Weights uint64 // number of parameters
	Name    string // such as "llama 7B Q8_0"
}

// Shape reads the model's shape.
func (m *Model) Shape() Shape {
	c := &m.lib.c
	var name [256]byte
	n := c.modelDesc(m.c, &name[0], uintptr(len(name)))
	return Shape{
		Context: int(c.modelCtx(m.c)), Width: int(c.modelEmbd(m.c)), Layers: int(c.modelLayers(m.c)),
		Heads: int(c.modelHeads(m.c)), HeadsKV: int(c.modelHeadsKV(m.c)), Tokens: m.vocab.Size(),
		Bytes: c.modelSize(m.c), Weights: c.modelParams(m.c), Name: string(name[:max(0, min(int(n), len(name)-1))]),
	}
}

// Meta is the value of a scalar key of the file's metadata, as text.
func (m *Model) Meta(key string) (string, bool) {
	var none [1]byte
	n := m.lib.c.modelMeta(m.c, key, &none[0], 1)
	if n < 0 {
		return "", false
	}
	buf := make([]byte, n+1)
	m.lib.c.modelMeta(m.c, key, &buf[0], uintptr(len(buf)))
	return string(buf[:n]), true
}

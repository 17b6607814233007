// Package llamacpp is the decoder on llama.cpp's libraries: a GGUF of any Llama-like model, on the processor or a device.
package llamacpp

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"runtime"
	"strconv"

	"github.com/larkstream/larkstream/engine/decoder/notes"
	"github.com/larkstream/larkstream/engine/decoder/schedule"
	"github.com/larkstream/larkstream/engine/decoder/tokenizer"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/native/ggml"
	"github.com/larkstream/larkstream/engine/native/llama"
)

// Values of Config.Device.
const (
	DeviceAuto = "auto" // the devices that the libraries find, else the processor
	DeviceCPU  = "cpu"
)

// manyPositions is what several windows of any model of today and their answers take.
const manyPositions = 16384

// manyThreads is from how many bytes of weights on more than one thread is used.
const manyThreads = 64 << 20

// Config bounds the engine.
type Config struct {
	// NativeDir is the folder of the libraries. Empty: native/cpu beside the executable.
	NativeDir string
	// Device is DeviceAuto or DeviceCPU. Empty: DeviceAuto.
	Device string
	// Threads on the processor. 0: as many as Go uses, and one for a model of less than 64 MB, whose steps would mostly be
	// waiting for one another.
	Threads int
	// MaxBatch is how many answers are decoded in one step. 0: 16.
	MaxBatch int
	// Positions is the budget of keys and values that are held at a time, in positions; at least the model's context.
	// 0: 4 contexts, but for models of long contexts 16384, and at least one context.
	Positions int
	// Chunk is the most rows of a prompt that are read in one piece. 0: 256 with a device, and 32 on the processor, where
	// larger pieces cost as much per row and would stall the answers under way for longer.
	Chunk int
	// ExactKV holds keys and values in float32 instead of float16, at twice the memory.
	ExactKV bool
}

// Deps are what the engine needs of ours.
type Deps struct {
	// Log receives the libraries' warnings and errors.
	Log *slog.Logger
}

// Open loads the libraries and the decoder of a bundle and starts its scheduler. It returns when the model is loaded.
// Without libraries the error is native.ErrMissing.
func Open(b *model.Bundle, cfg Config, deps Deps) (*schedule.Engine, error) {
	backend, d, err := open(b, cfg, deps)
	if err != nil {
		return nil, fmt.Errorf("opening the decoder %s: %w", b.LLMPath(), err)
	}
	d.Backend = backend
	sheet, err := notes.Of(b)
	if err != nil {
		return nil, fmt.Errorf("opening the decoder %s: %w", b.LLMPath(), errors.Join(err, backend.Close()))
	}
	return schedule.New(schedule.Config{MaxBatch: cfg.MaxBatch, Prompt: b.Prompt, Notes: sheet, OwnThread: true}, d)
}

// open gives the backend and its vocabulary: the GGUF's vocabulary, which can be constrained, unless the
// bundle has a tokenizer of ours.
func open(b *model.Bundle, cfg Config, deps Deps) (*Backend, schedule.Deps, error) {
	var d schedule.Deps
	backend, err := OpenBackend(b, cfg, deps)
	if err != nil {
		return nil, d, err
	}
	if b.LLM.Tokenizer == "" {
		var v *vocabulary
		v, err = newVocabulary(backend.model)
		d.Vocabulary, d.Grammars = v, v
	} else {
		d.Vocabulary, err = tokenizer.Open(b.TokenizerPath())
	}
	if err != nil {
		return nil, d, errors.Join(err, backend.Close())
	}
	return backend, d, nil
}

// OpenBackend loads the libraries and the model, and compares it with what the manifest says.
func OpenBackend(b *model.Bundle, cfg Config, deps Deps) (*Backend, error) {
	if deps.Log == nil {
		return nil, errors.New("a log is needed")
	}
	lib, err := llama.Open(cfg.NativeDir, deps.Log)
	if err != nil {
		return nil, err
	}
	m, err := loadChecked(lib, b.LLMPath(), llama.ModelOptions{CPUOnly: cfg.Device == DeviceCPU})
	if err != nil {
		return nil, err
	}
	if err := check(b.LLM, m); err != nil {
		return nil, errors.Join(err, m.Close())
	}
	device, err := cfg.device(lib)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	cfg = cfg.withDefaults(b.LLM, m.Shape().Bytes, device != "")
	backend, err := newBackend(lib, m, b.LLM, cfg)
	if err != nil {
		return nil, errors.Join(err, m.Close())
	}
	deps.Log.Info("decoder loaded", "model", m.Shape().Name, "device", cmp.Or(device, DeviceCPU), "threads", cfg.Threads, "positions", cfg.Positions)
	return backend, nil
}

// device names the first one that the libraries compute on; it is empty for the processor alone.
func (c Config) device(lib *llama.Library) (string, error) {
	if c.Device == DeviceCPU {
		return "", nil
	}
	g, err := ggml.Bind(lib.Native())
	if err != nil {
		return "", err
	}
	for _, d := range g.Devices() {
		if d.Kind == ggml.GPU || d.Kind == ggml.Integrated {
			return d.Name, nil
		}
	}
	return "", nil
}

func (c Config) withDefaults(l model.LLM, bytes uint64, device bool) Config {
	if c.Threads == 0 {
		c.Threads = 1
		if bytes >= manyThreads {
			c.Threads = runtime.GOMAXPROCS(0)
		}
	}
	if c.Positions == 0 {
		c.Positions = max(l.Context, min(4*l.Context, manyPositions))
	}
	if c.Chunk == 0 {
		c.Chunk = 32
		if device {
			c.Chunk = 256
		}
	}
	if c.MaxBatch == 0 {
		c.MaxBatch = schedule.DefaultBatch
	}
	return c
}

// check compares the model with the manifest: whatever else was made for the one does not fit the other.
func check(l model.LLM, m *llama.Model) error {
	s := m.Shape()
	var faults []error
	for _, v := range []struct {
		name        string
		want, found int
	}{
		{"hidden", l.Hidden, m.Width()},
		{"layers", l.Layers, s.Layers},
		{"heads", l.Heads, s.Heads},
		{"kv_heads", l.KVHeads, s.HeadsKV},
		{"vocab", l.Vocab, s.Tokens},
	} {
		if v.want != v.found {
			faults = append(faults, fmt.Errorf("llm.%s is %d in model.yaml, but the file has %d", v.name, v.want, v.found))
		}
	}
	if l.Context > s.Context {
		faults = append(faults, fmt.Errorf("llm.context is %d in model.yaml, but the file's model was trained for %d positions", l.Context, s.Context))
	}
	faults = append(faults, checkMeta(l, m)...)
	if len(faults) > 0 {
		return fmt.Errorf("checking the model: %w; file and manifest do not belong together, import the model again", errors.Join(faults...))
	}
	return nil
}

// checkMeta compares what only the file's metadata tell; a file need not have them.
func checkMeta(l model.LLM, m *llama.Model) (faults []error) {
	arch, _ := m.Meta("general.architecture")
	for _, v := range []struct {
		name, key string
		want      float64
	}{
		{"ffn", ".feed_forward_length", float64(l.FFN)},
		{"rope_base", ".rope.freq_base", l.RopeBase},
		{"norm_eps", ".attention.layer_norm_rms_epsilon", l.NormEps},
	} {
		text, ok := m.Meta(arch + v.key)
		if found, err := strconv.ParseFloat(text, 64); ok && err == nil && math.Abs(found-v.want) > 1e-3*v.want {
			faults = append(faults, fmt.Errorf("llm.%s is %v in model.yaml, but the file has %v", v.name, v.want, found))
		}
	}
	return faults
}

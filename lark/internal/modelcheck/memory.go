package modelcheck

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"github.com/prometheus/procfs"

	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/encoder/jukebox"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/tensor"
)

const (
	// program is what the process takes besides a model, in bytes.
	program = 100 << 20
	// manyPositions is the decoder's default budget of positions for models of long contexts.
	manyPositions = 16384
	// windowRows are the rows of a layer that are held at once for a window, in widths of the encoder.
	windowRows = 16
)

// Memory is what a model needs before it is loaded, in bytes. It is an estimate from the sizes of its tensors.
type Memory struct {
	Encoder   int64 `json:"encoder_bytes"`   // weights as the engine holds them
	Window    int64 `json:"window_bytes"`    // one window in flight
	Projector int64 `json:"projector_bytes"` // weights in float32
	Decoder   int64 `json:"decoder_bytes"`   // weights
	KeyValues int64 `json:"kv_bytes"`        // the default budget of positions
	Needed    int64 `json:"needed_bytes"`    // all of it, and the program
	// Available is what this process may still take, 0 where the system does not tell.
	Available int64 `json:"available_bytes"`
}

func estimate(b *model.Bundle) (m Memory, err error) {
	values, size, err := elements(b.EncoderPath())
	if err != nil {
		return m, err
	}
	rows := b.Encoder.SpanS * 50 // Whisper's frames before pooling; more than lark-nano has
	switch b.Encoder.Engine {
	case encoder.Whisper:
		m.Encoder = values * 4
		if b.Encoder.Precision == string(tensor.BF16) {
			m.Encoder = values * 2
		}
	case encoder.Jukebox: // mapped
		c, err := jukebox.ConfigOf(b.Encoder.Config)
		if err != nil {
			return m, err
		}
		m.Encoder, rows = size, float64(c.Context)*5/windowRows // 0.77 GB for 5b, as measured in docs/jukebox.md
	default:
		m.Encoder = values * 4
	}
	m.Window = int64(rows * float64(b.Encoder.Width) * 4 * windowRows)
	m.Needed = program + m.Encoder + m.Window
	if b.EncoderOnly() {
		return m, nil
	}
	if values, _, err = elements(b.ProjectorPath()); err != nil {
		return m, err
	}
	m.Projector = values * 4
	if err := m.decoder(b); err != nil {
		return m, err
	}
	m.Needed += m.Projector + m.Decoder + m.KeyValues
	return m, nil
}

// decoder adds the weights and the keys and values: those of llama.cpp are in float16, ours in float32.
func (m *Memory) decoder(b *model.Bundle) error {
	l := b.LLM
	values, size, err := elements(b.LLMPath())
	if err != nil {
		return err
	}
	perPosition := int64(2*l.Layers*l.KVHeads) * int64(l.Hidden/l.Heads)
	switch l.Engine {
	case decoder.VLLMServer: // a server holds them
	case decoder.LlamaCPP:
		m.Decoder, m.KeyValues = size, perPosition*2*int64(max(l.Context, min(4*l.Context, manyPositions)))
	default:
		m.Decoder, m.KeyValues = values*4, perPosition*4*int64(l.Context)
	}
	return nil
}

// elements counts the values of a file of tensors, and its bytes.
func elements(path string) (values, size int64, err error) {
	info, err := os.Stat(path)
	if err != nil {
		return 0, 0, fmt.Errorf("reading the sizes of the tensors: %w; the bundle is incomplete, import the model again", err)
	}
	if strings.HasSuffix(path, ".gguf") {
		f, err := gguf.Open(path)
		if err != nil {
			return 0, 0, err
		}
		for _, t := range f.Tensors() {
			values += t.Elements()
		}
		return values, info.Size(), f.Close()
	}
	f, err := model.OpenSafetensors(path)
	if err != nil {
		return 0, 0, err
	}
	for _, name := range f.Names() {
		t, _ := f.Info(name)
		n := int64(1)
		for _, d := range t.Shape {
			n *= int64(d)
		}
		values += n
	}
	return values, info.Size(), f.Close()
}

// Available is the memory that this process may still take, in bytes: what Linux calls available, or less where a container is limited. It is 0
// where the system does not tell.
func Available() int64 {
	fs, err := procfs.NewDefaultFS()
	if err != nil {
		return 0
	}
	info, err := fs.Meminfo()
	if err != nil || info.MemAvailableBytes == nil {
		return 0
	}
	free := int64(*info.MemAvailableBytes)
	if text, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if limit, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			free = min(free, limit)
		}
	}
	return free
}

func (m Memory) check() Finding {
	text := fmt.Sprintf("%s needed (encoder %s, one window %s, projector %s, decoder %s, keys and values %s)", bytes(m.Needed), bytes(m.Encoder), bytes(m.Window),
		bytes(m.Projector), bytes(m.Decoder), bytes(m.KeyValues))
	switch {
	case m.Available == 0:
		return Finding{Check: "memory", State: Warn, Detail: text + "; the system does not tell what is available", Remedy: "compare it with the memory of this machine"}
	case m.Needed > m.Available:
		return Finding{
			Check: "memory", State: Fail, Detail: fmt.Sprintf("%s, %s available: the model was not loaded", text, bytes(m.Available)),
			Remedy: "take a machine with more memory, a decoder of fewer bits (such as Q4_K_M), or a smaller llm.context in model.yaml",
		}
	}
	return Finding{Check: "memory", State: OK, Detail: fmt.Sprintf("%s, %s available", text, bytes(m.Available))}
}

func bytes(n int64) string {
	if n < 1e8 {
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	}
	return fmt.Sprintf("%.2f GB", float64(n)/1e9)
}

// Package audiobundle makes bundles of large language models that hear through an encoder of Whisper's kind: Qwen2.5-Omni, Qwen2-Audio, Audio
// Flamingo 3 and Music Flamingo, of the files that are published, or of random weights.
package audiobundle

import (
	"errors"
	"fmt"
)

const (
	// EncoderFile, ProjectorFile and DecoderFile are the names of the parts in a bundle.
	EncoderFile   = "encoder.gguf"
	ProjectorFile = "projector.safetensors"
	DecoderFile   = "llm.gguf"

	// SampleRate of the audio, Hz.
	SampleRate = 16000
	// Hop is the number of samples per frame of the log-mel spectrogram.
	Hop = 160
	// Kernel is the width of both convolutions of the stem.
	Kernel = 3
	// NormEpsilon is added to the variance in every norm of the encoder.
	NormEpsilon = 1e-5
	// WindowS is the span of a window, in seconds, and FrameRateHz the rate of the pooled frames.
	WindowS     = 30
	FrameRateHz = 25
)

// Config holds the sizes of an encoder, and how much of the audio a position sees.
type Config struct {
	// Layers of the encoder, Heads of its attention, its Width and the width FFN of its hidden layers.
	Layers, Heads, Width, FFN int
	// Mels is the number of bands of the spectrogram.
	Mels int
	// Positions is the number of rows of the table of positions.
	Positions int
	// Block is how many frames of the spectrogram see one another, as in Qwen2.5-Omni; 0: all frames of a window.
	Block int
}

// Validate reports every size that is out of range or does not divide as it must.
func (c Config) Validate() error {
	var faults []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			faults = append(faults, fmt.Errorf(format, args...))
		}
	}
	within := func(name string, v, low, high int) {
		check(v >= low && v <= high, "%s %d is not within %d to %d", name, v, low, high)
	}
	within("layers", c.Layers, 1, 256)
	within("heads", c.Heads, 1, 256)
	within("width", c.Width, 1, 1<<14)
	within("ffn", c.FFN, 1, 1<<16)
	within("mels", c.Mels, 128, 128)
	within("block", c.Block, 0, 3000)
	check(c.Block%4 == 0, "blocks of %d frames are not whole tokens of 4", c.Block)
	within("positions", c.Positions, c.rows(), 1500)
	check(c.Heads < 1 || c.Width%c.Heads == 0, "%d heads do not divide a width of %d", c.Heads, c.Width)
	return errors.Join(faults...)
}

// rows is the most positions that see one another.
func (c Config) rows() int {
	if c.Block > 0 {
		return c.Block / 2
	}
	return WindowS * 50
}

func (c *Config) fields() map[string]*int {
	return map[string]*int{
		"layers": &c.Layers, "heads": &c.Heads, "width": &c.Width, "ffn": &c.FFN, "mels": &c.Mels, "positions": &c.Positions, "block": &c.Block,
	}
}

// values is the configuration as it stands in model.yaml.
func (c Config) values() map[string]any {
	values := map[string]any{}
	for key, v := range c.fields() {
		values[key] = *v
	}
	return values
}

// Parse reads the configuration of a bundle's encoder and validates it.
func Parse(values map[string]any) (Config, error) {
	var c Config
	fields := c.fields()
	var faults []error
	for key, v := range values {
		field, known := fields[key]
		n, isInt := v.(int)
		if !known || !isInt {
			faults = append(faults, fmt.Errorf("encoder.config.%s: %v is unknown or no integer", key, v))
			continue
		}
		*field = n
	}
	if err := errors.Join(append(faults, c.Validate())...); err != nil {
		return Config{}, fmt.Errorf("reading the encoder's configuration: %w", err)
	}
	return c, nil
}

// Tensor is a tensor of the encoder: its name in GGUF files, its shape there, the last dimension contiguous, and its name in Hugging Face's
// files behind the encoder's prefix.
type Tensor struct {
	Name  string
	Shape []int
	HF    string
	// Vector tells that it has one dimension in Hugging Face's files, and is kept in F32.
	Vector bool
}

// Tensors lists what an encoder has, in the order of a bundle's file.
func (c Config) Tensors() []Tensor {
	var all []Tensor
	add := func(name, hf string, shape ...int) { all = append(all, Tensor{Name: name, Shape: shape, HF: hf}) }
	vector := func(name, hf string, shape ...int) {
		all = append(all, Tensor{Name: name, Shape: shape, HF: hf, Vector: true})
	}
	norm := func(name, hf string) {
		vector(name+".weight", hf+".weight", c.Width)
		vector(name+".bias", hf+".bias", c.Width)
	}
	add("a.conv1d.1.weight", "conv1.weight", c.Width, c.Mels, Kernel)
	vector("a.conv1d.1.bias", "conv1.bias", c.Width, 1)
	add("a.conv1d.2.weight", "conv2.weight", c.Width, c.Width, Kernel)
	vector("a.conv1d.2.bias", "conv2.bias", c.Width, 1)
	if c.Block == 0 {
		add("a.position_embd.weight", "embed_positions.weight", c.Positions, c.Width)
	}
	for i := range c.Layers {
		linear := func(name, hf string, out, in int, bias bool) {
			add(fmt.Sprintf("a.blk.%d.%s.weight", i, name), fmt.Sprintf("layers.%d.%s.weight", i, hf), out, in)
			if bias {
				vector(fmt.Sprintf("a.blk.%d.%s.bias", i, name), fmt.Sprintf("layers.%d.%s.bias", i, hf), out)
			}
		}
		norm(fmt.Sprintf("a.blk.%d.ln1", i), fmt.Sprintf("layers.%d.self_attn_layer_norm", i))
		linear("attn_q", "self_attn.q_proj", c.Width, c.Width, true)
		linear("attn_k", "self_attn.k_proj", c.Width, c.Width, false)
		linear("attn_v", "self_attn.v_proj", c.Width, c.Width, true)
		linear("attn_out", "self_attn.out_proj", c.Width, c.Width, true)
		norm(fmt.Sprintf("a.blk.%d.ln2", i), fmt.Sprintf("layers.%d.final_layer_norm", i))
		linear("ffn_up", "fc1", c.FFN, c.Width, true)
		linear("ffn_down", "fc2", c.Width, c.FFN, true)
	}
	last := "layer_norm"
	if c.Block > 0 {
		last = "ln_post"
	}
	norm("a.post_ln", last)
	return all
}

package whisper

import (
	"context"
	"fmt"
	"math"
	"slices"

	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/tensor"
)

// linear is a product with weights and the bias behind it.
type linear struct {
	weight tensor.Packed
	bias   []float32
}

type norm struct{ weight, bias []float32 }

type layer struct {
	norm1, norm2       norm
	qkv, out, up, down linear
}

// weights are the encoder's, laid out for products.
type weights struct {
	conv1, conv2 linear
	positions    []float32 // [positions, width]
	layers       []layer
	last         norm
}

// Weights gives the values of an encoder's tensors by their names in GGUF.
type Weights struct {
	ctx  context.Context //nolint:containedctx // of the load, which it lives as long as
	file *gguf.File
	err  error
}

// Read reads from an open file. Errors stay: see Err.
func Read(ctx context.Context, file *gguf.File) *Weights { return &Weights{ctx: ctx, file: file} }

// Err is the first error.
func (r *Weights) Err() error { return r.err }

// Check demands every tensor of the configuration in its shape, and a type that can be read; nothing is loaded.
func (r *Weights) Check(c audiobundle.Config) error {
	for _, want := range c.Tensors() {
		t, ok := r.file.Tensor(want.Name)
		if !ok {
			return fmt.Errorf("checking %s: it has no tensor %q: it is damaged or of another model, import the model again", r.file.Path(), want.Name)
		}
		if !slices.Equal(t.Shape, want.Shape) {
			return fmt.Errorf("checking %s: tensor %q has shape %v, where %v is expected", r.file.Path(), want.Name, t.Shape, want.Shape)
		}
		if _, err := gguf.Decode(nil, t.Type, nil); err != nil {
			return fmt.Errorf("checking %s: tensor %q: %w", r.file.Path(), want.Name, err)
		}
	}
	return nil
}

// Values are all values of a tensor, in float32.
func (r *Weights) Values(name string) []float32 {
	if r.err != nil {
		return nil
	}
	t, ok := r.file.Tensor(name)
	if !ok {
		r.err = fmt.Errorf("loading the encoder: there is no tensor %q", name)
		return nil
	}
	values := make([]float32, 0, t.Elements())
	r.err = r.file.Read(r.ctx, name, func(piece []byte) (err error) {
		values, err = gguf.Decode(values, t.Type, piece)
		return err
	})
	if r.err == nil && !tensor.Finite(values) {
		r.err = fmt.Errorf("loading the encoder: tensor %q holds NaN or infinity: the file is damaged, import the model again", name)
	}
	return values
}

// Conv are the weights of a convolution of the stem as rows [out, 3·in]: what multiplies three frames that follow each other.
func (r *Weights) Conv(number, in, out int) []float32 {
	from := r.Values(fmt.Sprintf("a.conv1d.%d.weight", number)) // [out, in, 3]
	to := make([]float32, len(from))
	for i, v := range from {
		row, channel, tap := i/(audiobundle.Kernel*in), i/audiobundle.Kernel%in, i%audiobundle.Kernel
		to[(row*audiobundle.Kernel+tap)*in+channel] = v
	}
	return to[:min(len(to), out*in*audiobundle.Kernel)]
}

// Positions is the table of positions [rows, width]: the file's, or for blocks sines and cosines (Qwen2.5-Omni has no table in its files).
func (r *Weights) Positions(c audiobundle.Config) []float32 {
	if c.Block == 0 {
		return r.Values("a.position_embd.weight")
	}
	rows, half := c.Block/2, c.Width/2
	table := make([]float32, rows*c.Width)
	for j := range half {
		rate := float32(math.Exp(-float64(j) * math.Log(1e4) / float64(half-1)))
		for i := range rows {
			sin, cos := math.Sincos(float64(float32(i) * rate))
			table[i*c.Width+j], table[i*c.Width+half+j] = float32(sin), float32(cos)
		}
	}
	return table
}

// qkv is the weight and the bias of queries, keys and values in one matrix [3·width, width].
func (r *Weights) qkv(layer, width int) (weight, bias []float32) {
	for _, part := range []string{"q", "k", "v"} {
		weight = append(weight, r.Values(fmt.Sprintf("a.blk.%d.attn_%s.weight", layer, part))...)
	}
	return weight, r.QKVBias(layer, width)
}

// QKVBias is the bias [3·width] of queries, keys and values; keys have none.
func (r *Weights) QKVBias(layer, width int) []float32 {
	q, v := r.Values(fmt.Sprintf("a.blk.%d.attn_q.bias", layer)), r.Values(fmt.Sprintf("a.blk.%d.attn_v.bias", layer))
	return slices.Concat(q, make([]float32, width), v)
}

func (r *Weights) norm(name string) norm {
	return norm{r.Values(name + ".weight"), r.Values(name + ".bias")}
}

// load lays the weights out. progress is called with the layers that are done.
func (r *Weights) load(c audiobundle.Config, precision tensor.Precision, progress func(done, total int)) *weights {
	pack := func(to *linear, weight, bias []float32, out, in int) {
		if r.err == nil {
			to.weight.PackRows(weight, out, in, precision)
			to.bias = bias
		}
	}
	line := func(to *linear, name string, out, in int) {
		pack(to, r.Values(name+".weight"), r.Values(name+".bias"), out, in)
	}
	w := &weights{layers: make([]layer, c.Layers), positions: r.Positions(c), last: r.norm("a.post_ln")}
	pack(&w.conv1, r.Conv(1, c.Mels, c.Width), r.Values("a.conv1d.1.bias"), c.Width, audiobundle.Kernel*c.Mels)
	pack(&w.conv2, r.Conv(2, c.Width, c.Width), r.Values("a.conv1d.2.bias"), c.Width, audiobundle.Kernel*c.Width)
	for i := range w.layers {
		l, name := &w.layers[i], fmt.Sprintf("a.blk.%d.", i)
		l.norm1, l.norm2 = r.norm(name+"ln1"), r.norm(name+"ln2")
		weight, bias := r.qkv(i, c.Width)
		pack(&l.qkv, weight, bias, 3*c.Width, c.Width)
		line(&l.out, name+"attn_out", c.Width, c.Width)
		line(&l.up, name+"ffn_up", c.FFN, c.Width)
		line(&l.down, name+"ffn_down", c.Width, c.FFN)
		progress(i+1, c.Layers)
	}
	return w
}

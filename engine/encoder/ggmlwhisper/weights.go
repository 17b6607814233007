package ggmlwhisper

import (
	"context"
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/engine/encoder/ggmlgraph"
	"github.com/larkstream/larkstream/engine/encoder/whisper"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/native/ggml"
)

type layer struct {
	norm1, norm2       ggmlgraph.Norm
	qkv, out, up, down ggmlgraph.Linear
}

// weights are all that the device holds of the model. Matrices are [in, out] in ggml's order.
type weights struct {
	*ggml.Context
	buffer       *ggml.Buffer
	conv1, conv2 ggmlgraph.Linear
	positions    ggml.Tensor
	layers       []layer
	last         ggmlgraph.Norm
	// fill fills each tensor.
	fill []func(ctx context.Context) error
	read *whisper.Weights
	file *gguf.File
}

// typeOf is the type in which the device holds a matrix of the file.
type typeOf func(gguf.Type) ggml.Type

// describe lists the weights' tensors, without memory yet.
func describe(ctx context.Context, l *ggml.Library, c audiobundle.Config, file *gguf.File, matrices typeOf) (*weights, error) {
	x, err := l.NewContext(12*c.Layers+16, 0)
	if err != nil {
		return nil, err
	}
	w := &weights{Context: x, read: whisper.Read(ctx, file), file: file}
	w.conv1 = w.conv(matrices, 1, c.Mels, c.Width)
	w.conv2 = w.conv(matrices, 2, c.Width, c.Width)
	w.positions = w.vector(func() []float32 { return w.read.Positions(c) }, c.Width, c.Positions)
	w.last = w.norm("a.post_ln", c.Width)
	for i := range c.Layers {
		name := fmt.Sprintf("a.blk.%d.", i)
		w.layers = append(w.layers, layer{
			norm1: w.norm(name+"ln1", c.Width), norm2: w.norm(name+"ln2", c.Width),
			qkv: ggmlgraph.Linear{
				Weight: w.matrix(matrices, []string{name + "attn_q.weight", name + "attn_k.weight", name + "attn_v.weight"}, c.Width, 3*c.Width),
				Bias:   w.vector(func() []float32 { return w.read.QKVBias(i, c.Width) }, 3*c.Width),
			},
			out: w.linear(matrices, name+"attn_out", c.Width, c.Width), up: w.linear(matrices, name+"ffn_up", c.Width, c.FFN),
			down: w.linear(matrices, name+"ffn_down", c.FFN, c.Width),
		})
	}
	return w, w.Err()
}

func sizes(shape []int) []int64 {
	out := make([]int64, len(shape))
	for i, n := range shape {
		out[i] = int64(n)
	}
	return out
}

// vector is a tensor in float32 that is filled with values.
func (w *weights) vector(values func() []float32, shape ...int) ggml.Tensor {
	t := w.Tensor(ggml.F32, sizes(shape)...)
	w.fill = append(w.fill, func(context.Context) error {
		v := values()
		if err := w.read.Err(); err != nil {
			return err
		}
		return ggml.Set(t, v)
	})
	return t
}

func (w *weights) norm(name string, width int) ggmlgraph.Norm {
	of := func(end string) ggml.Tensor {
		return w.vector(func() []float32 { return w.read.Values(name + end) }, width)
	}
	return ggmlgraph.Norm{Weight: of(".weight"), Bias: of(".bias")}
}

func (w *weights) linear(matrices typeOf, name string, in, out int) ggmlgraph.Linear {
	return ggmlgraph.Linear{Weight: w.matrix(matrices, []string{name + ".weight"}, in, out), Bias: w.vector(func() []float32 { return w.read.Values(name + ".bias") }, out)}
}

// matrix is one or more matrices of the file, one behind the other. Their bytes go up as they are if the device holds that type.
func (w *weights) matrix(matrices typeOf, names []string, in, out int) ggml.Tensor {
	kinds := make([]gguf.Type, len(names))
	for i, name := range names {
		t, _ := w.file.Tensor(name)
		kinds[i] = t.Type
	}
	kind := matrices(kinds[0])
	for _, k := range kinds {
		if k != kinds[0] && kind != ggml.F32 {
			kind = ggml.F16 // of different types
		}
	}
	to := w.Tensor(kind, int64(in), int64(out))
	w.fill = append(w.fill, func(ctx context.Context) error {
		at := 0
		for _, name := range names {
			t, _ := w.file.Tensor(name)
			err := w.file.Read(ctx, name, func(raw []byte) (err error) {
				if raw, err = converted(raw, t.Type, kind); err != nil {
					return err
				}
				err = ggml.SetAt(to, at, raw)
				at += len(raw)
				return err
			})
			if err != nil {
				return err
			}
		}
		return nil
	})
	return to
}

// converted are elements in another type.
func converted(raw []byte, from gguf.Type, to ggml.Type) ([]byte, error) {
	if int32(from) == int32(to) {
		return raw, nil
	}
	values, err := gguf.Decode(nil, from, raw)
	if err != nil {
		return nil, err
	}
	return gguf.Encode(nil, gguf.Type(to), values)
}

// conv is a convolution as a product with three frames that follow each other.
func (w *weights) conv(matrices typeOf, number, in, out int) ggmlgraph.Linear {
	name := fmt.Sprintf("a.conv1d.%d", number)
	t, _ := w.file.Tensor(name + ".weight")
	kind := matrices(t.Type)
	to := w.Tensor(kind, int64(audiobundle.Kernel*in), int64(out))
	w.fill = append(w.fill, func(context.Context) error {
		values := w.read.Conv(number, in, out)
		if err := w.read.Err(); err != nil {
			return err
		}
		raw, err := gguf.Encode(nil, gguf.Type(kind), values)
		if err != nil {
			return fmt.Errorf("converting %s: %w", name, err)
		}
		return ggml.Set(to, raw)
	})
	return ggmlgraph.Linear{Weight: to, Bias: w.vector(func() []float32 { return w.read.Values(name + ".bias") }, out)}
}

// upload fills the weights. progress is called with the tensors that are done.
func (w *weights) upload(ctx context.Context, progress func(done, total int)) error {
	for i, fill := range w.fill {
		if err := errors.Join(ctx.Err(), fill(ctx)); err != nil {
			return fmt.Errorf("uploading the weights: %w", err)
		}
		progress(i+1, len(w.fill))
	}
	w.fill, w.read, w.file = nil, nil, nil
	return nil
}

func (w *weights) close() {
	if w.buffer != nil {
		w.buffer.Close()
	}
	w.Close()
}

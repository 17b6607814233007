package ggmljukebox

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/engine/encoder/ggmlgraph"
	"github.com/larkstream/larkstream/engine/encoder/jukebox"
	"github.com/larkstream/larkstream/engine/native/ggml"
	"github.com/larkstream/larkstream/engine/tensor"
)

// block is the weights of a block on the device. Matrices are [in, out] in ggml's order, rows of the transposed matrix.
type block struct {
	norm0, norm1                 ggmlgraph.Norm
	attn, attnOut, mlpIn, mlpOut ggmlgraph.Linear
}

// weights are all that the device holds of the model.
type weights struct {
	*ggml.Context
	buffer    *ggml.Buffer
	blocks    []block
	codes     ggml.Tensor // [width, bins + 1], the last for the start
	positions ggml.Tensor // [width, context]
}

// describe lists the weights' tensors, without memory yet.
func describe(l *ggml.Library, c jukebox.Config, matrices ggml.Type) (*weights, error) {
	x, err := l.NewContext(12*c.Layers+2, 0)
	if err != nil {
		return nil, err
	}
	w := &weights{Context: x}
	vector := func(n int) ggml.Tensor { return w.Tensor(ggml.F32, int64(n)) }
	line := func(in, out int) ggmlgraph.Linear {
		return ggmlgraph.Linear{Weight: w.Tensor(matrices, int64(in), int64(out)), Bias: vector(out)}
	}
	norm := func() ggmlgraph.Norm { return ggmlgraph.Norm{Weight: vector(c.Width), Bias: vector(c.Width)} }
	for range c.Layers {
		w.blocks = append(w.blocks, block{
			norm0: norm(), norm1: norm(),
			attn: line(c.Width, 3*c.State), attnOut: line(c.State, c.Width), mlpIn: line(c.Width, c.MLP), mlpOut: line(c.MLP, c.Width),
		})
	}
	w.codes, w.positions = w.Tensor(ggml.F32, int64(c.Width), int64(c.Bins+1)), w.Tensor(ggml.F32, int64(c.Width), int64(c.Context))
	return w, w.Err()
}

// upload fills the weights from the encoder's, once. progress is called with the blocks that are done.
func (w *weights) upload(ctx context.Context, from *jukebox.Encoder, progress func(done, total int)) error {
	if err := w.tables(from); err != nil {
		return fmt.Errorf("uploading the embeddings: %w", err)
	}
	for d, b := range w.blocks {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("uploading the weights: %w", err)
		}
		if err := b.upload(from.Block(d)); err != nil {
			return fmt.Errorf("uploading block %d: %w", d, err)
		}
		progress(d+1, len(w.blocks))
	}
	return nil
}

func (b *block) upload(from jukebox.Block) error {
	return errors.Join(
		uploadNorm(b.norm0, from.Norm0), uploadNorm(b.norm1, from.Norm1),
		uploadLinear(b.attn, from.Attn), uploadLinear(b.attnOut, from.AttnOut), uploadLinear(b.mlpIn, from.MLPIn), uploadLinear(b.mlpOut, from.MLPOut),
	)
}

func uploadNorm(n ggmlgraph.Norm, from jukebox.Norm) error {
	return errors.Join(ggml.Set(n.Weight, from.Weight), ggml.Set(n.Bias, from.Bias))
}

func uploadLinear(l ggmlgraph.Linear, from jukebox.Linear) error {
	if err := ggml.Set(l.Bias, from.Bias); err != nil {
		return err
	}
	if l.Weight.Type() == ggml.F16 {
		return transpose(l.Weight, from.Weight, func(h uint16) uint16 { return h })
	}
	return transpose(l.Weight, from.Weight, tensor.F16ToF32)
}

// tables uploads what the embeddings are looked up in.
func (w *weights) tables(from *jukebox.Encoder) error {
	c := from.Config()
	size := c.Width * ggmlgraph.FloatBytes
	row := make([]float32, c.Width)
	for i := range c.Bins {
		from.CodeEmbedding(row, i)
		if err := ggml.SetAt(w.codes, i*size, row); err != nil {
			return err
		}
	}
	from.StartEmbedding(row)
	if err := ggml.SetAt(w.codes, c.Bins*size, row); err != nil {
		return err
	}
	for i := range c.Context {
		from.PositionEmbedding(row, i)
		if err := ggml.SetAt(w.positions, i*size, row); err != nil {
			return err
		}
	}
	return nil
}

const (
	// transposedColumns is how many columns of a matrix are transposed at once: whole cache lines of it are read.
	transposedColumns = 256
	// transposedRows is how many rows one processor takes at once.
	transposedRows = 64
)

// transpose uploads a matrix that the checkpoint holds as [in, out], row by row, as out rows of in elements.
func transpose[T uint16 | float32](to ggml.Tensor, m tensor.HalfMatrix, convert func(uint16) T) error {
	buffer := make([]T, transposedColumns*m.In)
	for first := 0; first < m.Out; first += transposedColumns {
		columns := min(transposedColumns, m.Out-first)
		tensor.Parallel((m.In+transposedRows-1)/transposedRows, m.In*columns, func(item int) {
			for k := item * transposedRows; k < min((item+1)*transposedRows, m.In); k++ {
				source := m.Data[2*(k*m.Out+first):]
				for j := range columns {
					buffer[j*m.In+k] = convert(binary.LittleEndian.Uint16(source[2*j:]))
				}
			}
		})
		if err := ggml.SetAt(to, first*m.In*binary.Size(T(0)), buffer[:columns*m.In]); err != nil {
			return err
		}
	}
	return nil
}

func (w *weights) close() {
	if w.buffer != nil {
		w.buffer.Close()
	}
	w.Close()
}

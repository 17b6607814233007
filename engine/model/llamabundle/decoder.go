package llamabundle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/gguf"
)

// source gives the values of tensors.
type source interface {
	// read passes the values of a tensor, row-major, to emit, in pieces of a multiple of 32 values, except the last.
	read(ctx context.Context, w weight, emit func([]float32) error) error
}

// Quantisations of matrices that are written here, as --quant names them. Norms are always F32.
var quants = map[string]gguf.Type{"f32": gguf.F32, "f16": gguf.F16, "bf16": gguf.BF16, "q8_0": gguf.Q8_0}

// Q4KM is the quantisation that llama.cpp's libraries make, of a file in bf16.
const Q4KM = "q4_k_m"

// Quantize writes the GGUF file in as out with the quantisation q4_k_m.
type Quantize func(ctx context.Context, in, out string) error

// checkQuant refuses unknown quantisations, and q4_k_m without its maker.
func checkQuant(quant string, quantize Quantize) error {
	if _, ok := quants[quant]; !ok && quant != Q4KM {
		return fmt.Errorf("quantisation %q is unknown: known are %v and %s", quant, slices.Sorted(maps.Keys(quants)), Q4KM)
	}
	if quant == Q4KM && quantize == nil {
		return fmt.Errorf("quantising to %s needs llama.cpp's libraries", Q4KM)
	}
	return nil
}

// fileTypes are the values of general.file_type (llama.h: llama_ftype).
var fileTypes = map[gguf.Type]uint32{gguf.F32: 0, gguf.F16: 1, gguf.Q8_0: 7, gguf.BF16: 32}

// decoder is one to be written as GGUF.
type decoder struct {
	name  string
	shape Shape
	vocab *vocab
	quant gguf.Type
	from  source
}

func (d *decoder) meta() []gguf.KV {
	s := d.shape
	return append([]gguf.KV{
		{Key: "general.architecture", Value: "llama"},
		{Key: "general.type", Value: "model"},
		{Key: "general.name", Value: d.name},
		{Key: "general.file_type", Value: fileTypes[d.quant]},
		{Key: "general.quantization_version", Value: uint32(2)},
		{Key: "llama.block_count", Value: uint32(s.Layers)},
		{Key: "llama.context_length", Value: uint32(s.Context)},
		{Key: "llama.embedding_length", Value: uint32(s.Hidden)},
		{Key: "llama.feed_forward_length", Value: uint32(s.FFN)},
		{Key: "llama.attention.head_count", Value: uint32(s.Heads)},
		{Key: "llama.attention.head_count_kv", Value: uint32(s.KVHeads)},
		{Key: "llama.attention.layer_norm_rms_epsilon", Value: float32(s.NormEps)},
		{Key: "llama.rope.freq_base", Value: float32(s.RopeBase)},
		{Key: "llama.rope.dimension_count", Value: uint32(s.head())},
		{Key: "llama.vocab_size", Value: uint32(s.Vocab)},
	}, d.vocab.meta()...)
}

// tensors gives the tensors as they are written. Vectors are kept in F32, and so are matrices of rows that the blocks of a quantisation
// do not divide.
func (d *decoder) tensors() []gguf.Tensor {
	var all []gguf.Tensor
	for _, w := range d.shape.weights() {
		t := gguf.Tensor{Name: w.name, Type: gguf.F32, Shape: w.shape}
		if len(w.shape) > 1 && d.quant.Fits(w.shape[len(w.shape)-1]) {
			t.Type = d.quant
		}
		all = append(all, t)
	}
	return all
}

// quantised writes the decoder to dir/File. An interrupted call is continued by the next with the same arguments.
func (d *decoder) quantised(ctx context.Context, dir, quant string, quantize Quantize, progress Progress) (digest string, err error) {
	path := filepath.Join(dir, File)
	if quant != Q4KM {
		d.quant = quants[quant]
		return d.write(ctx, path, progress)
	}
	d.quant = gguf.BF16
	whole, partial := path+".bf16", path+model.PartialSuffix
	if _, err := d.write(ctx, whole, progress); err != nil {
		return "", err
	}
	if err := quantize(ctx, whole, partial); err != nil {
		return "", fmt.Errorf("quantising the decoder: %w", err)
	}
	if digest, err = model.FileDigest(partial); err != nil {
		return "", err
	}
	return digest, errors.Join(os.Rename(partial, path), os.Remove(whole))
}

// write writes the decoder with the quantisation quant.
func (d *decoder) write(ctx context.Context, path string, progress Progress) (digest string, err error) {
	if len(d.vocab.tokens) != d.shape.Vocab {
		return "", fmt.Errorf("the tokenizer has %d tokens, where %d are expected", len(d.vocab.tokens), d.shape.Vocab)
	}
	tensors, total := d.tensors(), int64(0)
	for _, t := range tensors {
		total += t.Bytes()
	}
	weights, next, done := d.shape.weights(), 0, int64(0)
	return model.WriteResumable(ctx, path, func(w io.Writer) error {
		return gguf.Stream(w, d.meta(), tensors, func(t gguf.Tensor, w io.Writer) error {
			next++
			return d.fill(ctx, weights[next-1], t, func(raw []byte) error {
				n, err := w.Write(raw)
				done += int64(n)
				progress(done, total)
				return err
			})
		})
	})
}

// fill encodes one tensor.
func (d *decoder) fill(ctx context.Context, w weight, t gguf.Tensor, put func([]byte) error) error {
	var raw []byte
	encode := func(values []float32) (err error) {
		if raw, err = gguf.Encode(raw[:0], t.Type, values); err != nil {
			return err
		}
		return put(raw)
	}
	if w.heads == 0 {
		return d.from.read(ctx, w, encode)
	}
	rotary := newRotary(w, encode)
	return d.from.read(ctx, w, rotary.take)
}

// rotary reorders the rows of queries or keys. Hugging Face rotates row i of a head together with row i+d/2, ggml's
// ROPE_TYPE_NORM neighbouring rows, so row s·d/2+j of each head of d rows moves to 2j+s.
type rotary struct {
	row, rows int // values of a row, rows of a head
	head      []float32
	ordered   []float32
	emit      func([]float32) error
}

func newRotary(w weight, emit func([]float32) error) *rotary {
	rows := w.shape[0] / w.heads
	return &rotary{row: w.shape[1], rows: rows, ordered: make([]float32, rows*w.shape[1]), emit: emit}
}

func (r *rotary) take(values []float32) error {
	size := r.row * r.rows
	for len(values) > 0 {
		n := min(len(values), size-len(r.head))
		r.head, values = append(r.head, values[:n]...), values[n:]
		if len(r.head) < size {
			break
		}
		for from := range r.rows {
			to := from%(r.rows/2)*2 + from/(r.rows/2)
			copy(r.ordered[to*r.row:][:r.row], r.head[from*r.row:])
		}
		r.head = r.head[:0]
		if err := r.emit(r.ordered); err != nil {
			return err
		}
	}
	return nil
}

package vllm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"

	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/tensor"
)

// The decoder's table of token embeddings, [vocab, hidden], by its names in the two formats.
const (
	safetensorsTable = "model.embed_tokens.weight"
	ggufTable        = "token_embd.weight"
)

// table holds the decoder's token embeddings. Rows are read as they are needed. Prompts take on the table's type: the rows of
// text are then exactly the rows that the server would look up.
type table struct {
	element
	width int // bytes of a row
	// read fills p with bytes of the table from an offset on.
	read  func(p []byte, offset int64) error
	close func() error
}

// openTable opens the decoder's file of a bundle, a GGUF or safetensors.
func openTable(b *model.Bundle) (*table, error) {
	isGGUF, err := beginsWith(b.LLMPath(), []byte("GGUF"))
	if err != nil {
		return nil, fmt.Errorf("reading the token embeddings: %w", err)
	}
	open := openSafetensors
	if isGGUF {
		open = openGGUF
	}
	t, dtype, shape, err := open(b.LLMPath())
	if err != nil {
		return nil, err
	}
	e, ok := elements[dtype]
	if !ok {
		return nil, errors.Join(fmt.Errorf("reading the token embeddings of %s: they are %q, and vLLM takes BF16, F16 or F32: import the model with --quant bf16", b.LLMPath(), dtype), t.close())
	}
	if !slices.Equal(shape, []int{b.LLM.Vocab, b.LLM.Hidden}) {
		return nil, errors.Join(fmt.Errorf("reading the token embeddings of %s: their shape is %v, where %d x %d is expected", b.LLMPath(), shape, b.LLM.Vocab, b.LLM.Hidden), t.close())
	}
	t.element, t.width = e, b.LLM.Hidden*e.bytes
	return t, nil
}

func beginsWith(path string, magic []byte) (bool, error) {
	f, err := os.Open(path)
	if err != nil {
		return false, err
	}
	defer f.Close()
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(f, head); err != nil {
		return false, fmt.Errorf("%s: %w", path, err)
	}
	return bytes.Equal(head, magic), nil
}

func openSafetensors(path string) (*table, string, []int, error) {
	file, err := model.OpenMapped(path)
	if err != nil {
		return nil, "", nil, err
	}
	info, _ := file.Info(safetensorsTable)
	raw, err := file.Bytes(safetensorsTable, info.DType, info.Shape...)
	if err != nil {
		return nil, "", nil, errors.Join(err, file.Close())
	}
	read := func(p []byte, offset int64) error {
		copy(p, raw[offset:])
		return nil
	}
	return &table{read: read, close: file.Close}, info.DType, info.Shape, nil
}

func openGGUF(path string) (*table, string, []int, error) {
	file, err := gguf.Open(path)
	if err != nil {
		return nil, "", nil, err
	}
	info, ok := file.Tensor(ggufTable)
	if !ok {
		return nil, "", nil, errors.Join(fmt.Errorf("reading %s: it has no tensor %q", path, ggufTable), file.Close())
	}
	read := func(p []byte, offset int64) error { return file.ReadAt(ggufTable, p, offset) }
	return &table{read: read, close: file.Close}, info.Type.String(), info.Shape, nil
}

// rows gives the embeddings of ids, which are of the vocabulary.
func (t *table) rows(ids []int) ([]byte, error) {
	out := make([]byte, len(ids)*t.width)
	for i, id := range ids {
		if err := t.read(out[i*t.width:][:t.width], int64(id)*int64(t.width)); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// encode narrows values to the element's type, to nearest and ties to even.
func (e element) encode(values []float32) []byte {
	out := make([]byte, 0, len(values)*e.bytes)
	for _, v := range values {
		switch e.name {
		case "BF16":
			out = binary.LittleEndian.AppendUint16(out, tensor.F32ToBF16(v))
		case "F16":
			out = binary.LittleEndian.AppendUint16(out, tensor.F32ToF16(v))
		default:
			out = binary.LittleEndian.AppendUint32(out, math.Float32bits(v))
		}
	}
	return out
}

// finite tells that no element is NaN or infinite: those have every bit of the exponent set.
func (e element) finite(raw []byte) bool {
	if e.bytes == 4 {
		for ; len(raw) >= 4; raw = raw[4:] {
			if binary.LittleEndian.Uint32(raw)&0x7f800000 == 0x7f800000 {
				return false
			}
		}
		return true
	}
	exponent := uint16(0x7f80)
	if e.name == "F16" {
		exponent = 0x7c00
	}
	for ; len(raw) >= 2; raw = raw[2:] {
		if binary.LittleEndian.Uint16(raw)&exponent == exponent {
			return false
		}
	}
	return true
}

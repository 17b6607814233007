package model

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/larkstream/larkstream/engine/tensor"
)

// Tensor is a named tensor to be written. DType is F32, F16 or BF16; Data is row-major.
type Tensor struct {
	Name  string
	DType string
	Shape []int
	Data  []float32
}

// WriteSafetensors writes the tensors in the given order. The file appears whole or not at all.
func WriteSafetensors(path string, tensors []Tensor) error {
	slots := make([]Slot, len(tensors))
	for i, t := range tensors {
		slots[i] = Slot{t.Name, t.DType, t.Shape}
		if _, width := converter(t.DType); width == 0 || slots[i].Bytes() != int64(width*len(t.Data)) {
			return fmt.Errorf("writing weights %s: tensor %q of %s and shape %v with %d values cannot be written", path, t.Name, t.DType, t.Shape, len(t.Data))
		}
	}
	next := 0
	err := writeWhole(path, func(w io.Writer) error {
		return StreamSafetensors(w, slots, nil, func(_ Slot, w io.Writer) error {
			next++
			return writeElements(w, tensors[next-1])
		})
	})
	if err != nil {
		return fmt.Errorf("writing weights %s: %w", path, err)
	}
	return nil
}

func writeElements(w io.Writer, t Tensor) error {
	var buf [4]byte
	for _, v := range t.Data {
		raw := buf[:2]
		switch t.DType {
		case "F32":
			raw = buf[:4]
			binary.LittleEndian.PutUint32(raw, math.Float32bits(v))
		case "F16":
			binary.LittleEndian.PutUint16(raw, tensor.F32ToF16(v))
		default:
			binary.LittleEndian.PutUint16(raw, tensor.F32ToBF16(v))
		}
		if _, err := w.Write(raw); err != nil {
			return err
		}
	}
	return nil
}

// writeWhole writes to a temporary file beside path and renames it.
func writeWhole(path string, write func(io.Writer) error) error {
	tmp := path + ".tmp"
	f, err := os.Create(tmp)
	if err != nil {
		return err
	}
	buffered := bufio.NewWriterSize(f, 1<<20)
	err = errors.Join(write(buffered), buffered.Flush(), f.Close())
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return nil
}

func f32FromBytes(dst []float32, raw []byte) {
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
}

package model

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/larkstream/larkstream/shared/tensor"
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
	header, err := safetensorsHeader(tensors)
	if err != nil {
		return fmt.Errorf("writing weights %s: %w", path, err)
	}
	err = writeWhole(path, func(w io.Writer) error {
		if err := binary.Write(w, binary.LittleEndian, uint64(len(header))); err != nil {
			return err
		}
		if _, err := w.Write(header); err != nil {
			return err
		}
		for _, t := range tensors {
			if err := writeElements(w, t); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("writing weights %s: %w", path, err)
	}
	return nil
}

func safetensorsHeader(tensors []Tensor) ([]byte, error) {
	type entry struct {
		DType   string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	entries := map[string]entry{}
	at := int64(0)
	for _, t := range tensors {
		elements := 1
		for _, d := range t.Shape {
			elements *= d
		}
		_, width := converter(t.DType)
		_, twice := entries[t.Name]
		if width == 0 || elements != len(t.Data) || twice || t.Shape == nil {
			return nil, fmt.Errorf("tensor %q of %s and shape %v with %d values cannot be written", t.Name, t.DType, t.Shape, len(t.Data))
		}
		end := at + int64(elements*width)
		entries[t.Name] = entry{t.DType, t.Shape, [2]int64{at, end}}
		at = end
	}
	header, err := json.Marshal(entries)
	for len(header)%8 != 0 {
		header = append(header, ' ')
	}
	return header, err
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

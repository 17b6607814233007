// Package model reads model bundles and the checkpoints in them: a folder with model.yaml and safetensors files.
package model

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/larkstream/larkstream/engine/tensor"
)

// maxHeader bounds the header of a safetensors file, in bytes. The header of a 5-billion-parameter model is below 1 MB.
const maxHeader = 32 << 20

// maxDims bounds the number of dimensions of a tensor.
const maxDims = 8

// elementBytes holds the size of each element type of the format. Only the floats F32, F16 and BF16 are read as values.
var elementBytes = map[string]int64{
	"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
	"U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1,
}

// TensorInfo says what a tensor is and where it lies in the file.
type TensorInfo struct {
	DType string
	Shape []int
	// Start and End are byte offsets in the data that follow the header.
	Start, End int64
}

// Safetensors is an open file of the safetensors format (https://github.com/huggingface/safetensors). It may be used
// by several goroutines.
type Safetensors struct {
	name    string
	file    io.ReaderAt
	close   func() error
	data    int64 // offset of the data in the file
	tensors map[string]TensorInfo
}

// OpenSafetensors opens a file and checks its header: every tensor lies inside the file, has the bytes that its shape
// needs, and overlaps no other.
func OpenSafetensors(path string) (*Safetensors, error) {
	f, err := OpenFile(path)
	if err != nil {
		return nil, fmt.Errorf("opening weights: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening weights: %w", err), f.Close())
	}
	s, err := readSafetensors(path, f, info.Size())
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	s.close = f.Close
	return s, nil
}

// SafetensorsHeader reads and checks the header of a file of the given size: where each tensor lies, relative to the data,
// and the offset of the data in the file.
func SafetensorsHeader(r io.ReaderAt, size int64) (tensors map[string]TensorInfo, data int64, err error) {
	s, err := readSafetensors("file", r, size)
	if err != nil {
		return nil, 0, err
	}
	return s.tensors, s.data, nil
}

// ToF32 widens little-endian elements of F32, F16 or BF16.
func ToF32(dtype string, raw []byte) ([]float32, error) {
	convert, width := converter(dtype)
	if convert == nil {
		return nil, fmt.Errorf("elements of %s, where F32, F16 or BF16 is expected", dtype)
	}
	out := make([]float32, len(raw)/width)
	convert(out, raw)
	return out, nil
}

func readSafetensors(name string, r io.ReaderAt, size int64) (*Safetensors, error) {
	var prefix [8]byte
	if _, err := r.ReadAt(prefix[:], 0); err != nil {
		return nil, fmt.Errorf("reading weights %s: the file is too short for a header: %w", name, err)
	}
	length := binary.LittleEndian.Uint64(prefix[:])
	if length > maxHeader || int64(length) > size-8 {
		return nil, fmt.Errorf("reading weights %s: a header of %d bytes does not fit (file has %d, limit %d)", name, length, size, maxHeader)
	}
	tensors, err := parseHeader(io.NewSectionReader(r, 8, int64(length)))
	if err != nil {
		return nil, fmt.Errorf("reading the header of %s: %w", name, err)
	}
	s := &Safetensors{name: name, file: r, close: func() error { return nil }, data: 8 + int64(length), tensors: tensors}
	if err := s.checkLayout(size - s.data); err != nil {
		return nil, fmt.Errorf("checking the header of %s: %w", name, err)
	}
	return s, nil
}

// parseHeader reads the header object token by token, because encoding/json would let a repeated name pass.
func parseHeader(r io.Reader) (map[string]TensorInfo, error) {
	dec := json.NewDecoder(bufio.NewReader(r))
	if t, err := dec.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.Join(errors.New("it is not a JSON object"), err)
	}
	tensors := map[string]TensorInfo{}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return nil, err
		}
		name, _ := key.(string)
		if name == "__metadata__" {
			if err := dec.Decode(new(map[string]string)); err != nil {
				return nil, fmt.Errorf("metadata: %w", err)
			}
			continue
		}
		info, err := parseTensor(dec)
		if err != nil {
			return nil, fmt.Errorf("tensor %q: %w", name, err)
		}
		if _, twice := tensors[name]; twice {
			return nil, fmt.Errorf("tensor %q occurs twice", name)
		}
		tensors[name] = info
	}
	if _, err := dec.Token(); err != nil {
		return nil, err
	}
	return tensors, nil
}

func parseTensor(dec *json.Decoder) (TensorInfo, error) {
	var raw struct {
		DType   string   `json:"dtype"`
		Shape   []int    `json:"shape"`
		Offsets [2]int64 `json:"data_offsets"`
	}
	if err := dec.Decode(&raw); err != nil {
		return TensorInfo{}, err
	}
	bytes, known := elementBytes[raw.DType]
	if !known {
		return TensorInfo{}, fmt.Errorf("element type %q is unknown", raw.DType)
	}
	if len(raw.Shape) > maxDims {
		return TensorInfo{}, fmt.Errorf("%d dimensions are too many", len(raw.Shape))
	}
	for _, d := range raw.Shape {
		if d < 0 || (d > 0 && bytes > (1<<50)/int64(d)) {
			return TensorInfo{}, fmt.Errorf("shape %v is out of range", raw.Shape)
		}
		bytes *= int64(d)
	}
	if raw.Offsets[0] < 0 || raw.Offsets[1]-raw.Offsets[0] != bytes {
		return TensorInfo{}, fmt.Errorf("shape %v of %s needs %d bytes but the offsets are %v", raw.Shape, raw.DType, bytes, raw.Offsets)
	}
	return TensorInfo{DType: raw.DType, Shape: raw.Shape, Start: raw.Offsets[0], End: raw.Offsets[1]}, nil
}

// checkLayout demands that the tensors follow one another without gap or overlap and fill the data exactly.
func (s *Safetensors) checkLayout(size int64) error {
	names := slices.SortedFunc(maps.Keys(s.tensors), func(a, b string) int {
		x, y := s.tensors[a], s.tensors[b]
		if x.Start != y.Start {
			return int(min(max(x.Start-y.Start, -1), 1))
		}
		return int(min(max(x.End-y.End, -1), 1))
	})
	end := int64(0)
	for _, name := range names {
		t := s.tensors[name]
		if t.Start != end {
			return fmt.Errorf("tensor %q starts at %d, where %d is expected", name, t.Start, end)
		}
		end = t.End
	}
	if end != size {
		return fmt.Errorf("the tensors end at %d but the file has %d bytes of data: it is cut short or damaged, fetch it again", end, size)
	}
	return nil
}

// Names lists the tensors in alphabetical order.
func (s *Safetensors) Names() []string { return slices.Sorted(maps.Keys(s.tensors)) }

// Info describes one tensor.
func (s *Safetensors) Info(name string) (TensorInfo, bool) {
	t, ok := s.tensors[name]
	return t, ok
}

// F32 reads a tensor of type F32, F16 or BF16 and demands the given shape. Without a shape any shape is taken.
func (s *Safetensors) F32(name string, shape ...int) ([]float32, error) {
	t, ok := s.tensors[name]
	if !ok {
		return nil, fmt.Errorf("reading %s: it has no tensor %q", s.name, name)
	}
	if len(shape) > 0 && !slices.Equal(shape, t.Shape) {
		return nil, fmt.Errorf("reading %s: tensor %q has shape %v, where %v is expected", s.name, name, t.Shape, shape)
	}
	convert, width := converter(t.DType)
	if convert == nil {
		return nil, fmt.Errorf("reading %s: tensor %q holds %s, where F32, F16 or BF16 is expected", s.name, name, t.DType)
	}
	out := make([]float32, (t.End-t.Start)/int64(width))
	const chunk = 1 << 18 // elements
	buf := make([]byte, min(len(out), chunk)*width)
	for at := 0; at < len(out); at += chunk {
		part := out[at:min(at+chunk, len(out))]
		raw := buf[:len(part)*width]
		if _, err := s.file.ReadAt(raw, s.data+t.Start+int64(at*width)); err != nil {
			return nil, fmt.Errorf("reading tensor %q of %s: %w", name, s.name, err)
		}
		convert(part, raw)
	}
	return out, nil
}

// converter gives the function that turns little-endian elements into float32, and the bytes of one element.
func converter(dtype string) (func(dst []float32, raw []byte), int) {
	half := func(to func(uint16) float32) func([]float32, []byte) {
		return func(dst []float32, raw []byte) {
			for i := range dst {
				dst[i] = to(binary.LittleEndian.Uint16(raw[2*i:]))
			}
		}
	}
	switch dtype {
	case "F32":
		return f32FromBytes, 4
	case "F16":
		return half(tensor.F16ToF32), 2
	case "BF16":
		return half(tensor.BF16ToF32), 2
	}
	return nil, 0
}

// Close closes the file.
func (s *Safetensors) Close() error {
	if err := s.close(); err != nil {
		return fmt.Errorf("closing weights: %w", err)
	}
	return nil
}

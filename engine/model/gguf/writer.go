package gguf

import (
	"encoding/binary"
	"fmt"
	"io"
	"reflect"

	"github.com/larkstream/larkstream/engine/model"
)

// Stream writes a GGUF file to w. It calls fill once for each tensor, in order; fill writes the tensor's elements, row-major and
// little-endian, exactly Tensor.Bytes bytes.
func Stream(w io.Writer, meta []KV, tensors []Tensor, fill func(t Tensor, w io.Writer) error) error {
	head, err := encodeHeader(meta, tensors)
	if err != nil {
		return err
	}
	if _, err := w.Write(head); err != nil {
		return err
	}
	for _, t := range tensors {
		if err := model.Exactly(w, t.Bytes(), func(w io.Writer) error { return fill(t, w) }); err != nil {
			return fmt.Errorf("writing tensor %q: %w", t.Name, err)
		}
		if _, err := w.Write(make([]byte, pad(t.Bytes(), align)-t.Bytes())); err != nil {
			return err
		}
	}
	return nil
}

func encodeHeader(meta []KV, tensors []Tensor) ([]byte, error) {
	head := binary.LittleEndian.AppendUint32([]byte(magic), version)
	head = binary.LittleEndian.AppendUint64(head, uint64(len(tensors)))
	head = binary.LittleEndian.AppendUint64(head, uint64(len(meta)))
	seen := map[string]bool{}
	for _, kv := range meta {
		if seen[kv.Key] {
			return nil, fmt.Errorf("metadata %q are given twice", kv.Key)
		}
		seen[kv.Key] = true
		var err error
		if head, err = appendValue(appendString(head, kv.Key), kv.Value); err != nil {
			return nil, fmt.Errorf("metadata %q: %w", kv.Key, err)
		}
	}
	clear(seen)
	offset := int64(0)
	for _, t := range tensors {
		if err := t.check(); err != nil {
			return nil, fmt.Errorf("tensor %q: %w", t.Name, err)
		}
		if seen[t.Name] {
			return nil, fmt.Errorf("tensor %q is given twice", t.Name)
		}
		seen[t.Name] = true
		head = binary.LittleEndian.AppendUint32(appendString(head, t.Name), uint32(len(t.Shape)))
		for i := range t.Shape {
			head = binary.LittleEndian.AppendUint64(head, uint64(t.Shape[len(t.Shape)-1-i]))
		}
		head = binary.LittleEndian.AppendUint32(head, uint32(t.Type))
		head = binary.LittleEndian.AppendUint64(head, uint64(offset))
		offset += pad(t.Bytes(), align)
	}
	return append(head, make([]byte, pad(int64(len(head)), align)-int64(len(head)))...), nil
}

func appendString(raw []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(raw, uint64(len(s))), s...)
}

// appendValue appends the type of a value and the value.
func appendValue(raw []byte, value any) ([]byte, error) {
	kind, n := kindOf(value)
	if kind < 0 {
		return nil, fmt.Errorf("a value of type %T cannot be written", value)
	}
	if n >= 0 {
		raw = binary.LittleEndian.AppendUint32(raw, kindArray)
	}
	raw = binary.LittleEndian.AppendUint32(raw, uint32(kind))
	if n >= 0 {
		raw = binary.LittleEndian.AppendUint64(raw, uint64(n))
	}
	switch v := value.(type) {
	case string:
		return appendString(raw, v), nil
	case []string:
		for _, s := range v {
			raw = appendString(raw, s)
		}
		return raw, nil
	}
	return binary.Append(raw, binary.LittleEndian, value)
}

// kindOf gives the number of a value's type. For a list it gives the number of the items' type and their count. -1 stands for no type.
func kindOf(value any) (kind, count int) {
	switch v := value.(type) {
	case uint8, int8, uint16, int16, uint32, int32, float32, bool, string, uint64, int64, float64:
		return scalar(v), -1
	case []uint8:
		return kindUint8, len(v)
	case []int8:
		return kindInt8, len(v)
	case []uint16:
		return kindUint16, len(v)
	case []int16:
		return kindInt16, len(v)
	case []uint32:
		return kindUint32, len(v)
	case []int32:
		return kindInt32, len(v)
	case []uint64:
		return kindUint64, len(v)
	case []int64:
		return kindInt64, len(v)
	case []float32:
		return kindFloat32, len(v)
	case []float64:
		return kindFloat64, len(v)
	case []bool:
		return kindBool, len(v)
	case []string:
		return kindString, len(v)
	}
	return -1, -1
}

func scalar(value any) int {
	return map[reflect.Kind]int{
		reflect.Uint8: kindUint8, reflect.Int8: kindInt8, reflect.Uint16: kindUint16, reflect.Int16: kindInt16, reflect.Uint32: kindUint32,
		reflect.Int32: kindInt32, reflect.Uint64: kindUint64, reflect.Int64: kindInt64, reflect.Float32: kindFloat32, reflect.Float64: kindFloat64,
		reflect.Bool: kindBool, reflect.String: kindString,
	}[reflect.TypeOf(value).Kind()]
}

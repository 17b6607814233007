package gguf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/larkstream/larkstream/engine/tensor"
)

const (
	q8Block  = 32
	infinite = 0x7c00 // in F16
)

// Encode appends finite values as elements of type F32, F16, BF16 or Q8_0 (then in whole blocks of 32) and returns the longer slice. It refuses
// values that F16, or the scales of Q8_0, would make infinite.
func Encode(raw []byte, t Type, values []float32) ([]byte, error) {
	switch t {
	case F32:
		for _, v := range values {
			raw = binary.LittleEndian.AppendUint32(raw, math.Float32bits(v))
		}
	case F16:
		for _, v := range values {
			h := tensor.F32ToF16(v)
			if h&^(1<<15) >= infinite {
				return nil, fmt.Errorf("encoding %v as F16, which reaches 65504: BF16 and F32 hold it", v)
			}
			raw = binary.LittleEndian.AppendUint16(raw, h)
		}
	case BF16:
		for _, v := range values {
			raw = binary.LittleEndian.AppendUint16(raw, tensor.F32ToBF16(v))
		}
	case Q8_0:
		if len(values)%q8Block != 0 {
			return nil, fmt.Errorf("encoding %d values in blocks of %d", len(values), q8Block)
		}
		for ; len(values) > 0; values = values[q8Block:] {
			at := len(raw)
			raw = appendQ8(raw, (*[q8Block]float32)(values))
			if binary.LittleEndian.Uint16(raw[at:]) >= infinite {
				return nil, errors.New("encoding values above 8 million as Q8_0: BF16 and F32 hold them")
			}
		}
	default:
		return nil, fmt.Errorf("encoding elements of %s, where F32, F16, BF16 or Q8_0 is expected", t)
	}
	return raw, nil
}

// appendQ8 appends a block: its scale max|v|/127 as F16, and the values over the unrounded scale as integers, rounded half
// away from zero (ggml-quants.c: quantize_row_q8_0_ref).
func appendQ8(raw []byte, values *[q8Block]float32) []byte {
	largest := float32(0)
	for _, v := range values {
		largest = max(largest, math.Float32frombits(math.Float32bits(v)&^(1<<31)))
	}
	scale, inverse := largest/127, float32(0)
	if scale != 0 {
		inverse = 1 / scale
	}
	raw = binary.LittleEndian.AppendUint16(raw, tensor.F32ToF16(scale))
	const signBit, belowHalf = 1 << 31, 0x3effffff // the largest float32 below 0.5
	var block [q8Block]byte
	for i, v := range values {
		x := v * inverse
		half := math.Float32frombits(math.Float32bits(x)&signBit | belowHalf)
		block[i] = byte(int8(int32(x + half)))
	}
	return append(raw, block[:]...)
}

// Decode appends the values of whole elements or blocks of type F32, F16, BF16 or Q8_0.
func Decode(values []float32, t Type, raw []byte) ([]float32, error) {
	if l, ok := layouts[t]; ok && int64(len(raw))%l.bytes != 0 {
		return nil, fmt.Errorf("decoding %d bytes as %s", len(raw), t)
	}
	switch t {
	case F32:
		for ; len(raw) > 0; raw = raw[4:] {
			values = append(values, math.Float32frombits(binary.LittleEndian.Uint32(raw)))
		}
	case F16:
		for ; len(raw) > 0; raw = raw[2:] {
			values = append(values, tensor.F16ToF32(binary.LittleEndian.Uint16(raw)))
		}
	case BF16:
		for ; len(raw) > 0; raw = raw[2:] {
			values = append(values, tensor.BF16ToF32(binary.LittleEndian.Uint16(raw)))
		}
	case Q8_0:
		for ; len(raw) > 0; raw = raw[2+q8Block:] {
			scale := tensor.F16ToF32(binary.LittleEndian.Uint16(raw))
			for _, q := range raw[2 : 2+q8Block] {
				values = append(values, scale*float32(int8(q)))
			}
		}
	default:
		return nil, fmt.Errorf("decoding elements of %s, where F32, F16, BF16 or Q8_0 is expected", t)
	}
	return values, nil
}

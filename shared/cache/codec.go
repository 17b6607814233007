package cache

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"math"

	"github.com/larkstream/larkstream/engine/tensor"
)

// DType is how numbers are stored.
type DType uint8

const (
	// F32 stores 32-bit floats, exactly.
	F32 DType = 1
	// F16 stores 16-bit floats, rounded; a tensor with a value beyond their range (65,504) is stored as F32.
	F16 DType = 2
)

// A stored tensor is, little-endian: magic (4 bytes), version, dtype, codec, a zero, rows (4), cols (4),
// CRC-32C (4) of everything but itself, then the values. The codec byte leaves room for compression;
// only none exists.
const (
	magic      = "LKT1"
	version    = 1
	codecNone  = 0
	headerSize = 20
	crcOffset  = 16
	// MaxEncoded is the largest stored tensor, in bytes. LLark's own embedding of 25 s is about 5 MB.
	MaxEncoded = 64 << 20
	maxF16     = 65504
)

// ErrCorrupt is returned for bytes that are not a stored tensor.
var ErrCorrupt = errors.New("not a stored tensor")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Encode stores a tensor. It is an error if the shape is empty, does not fit the data, or is too large.
func Encode(t tensor.Matrix, dtype DType) ([]byte, error) {
	if t.Rows <= 0 || t.Cols <= 0 || t.Rows > math.MaxInt32 || t.Cols > math.MaxInt32 || int64(t.Rows)*int64(t.Cols) != int64(len(t.Data)) {
		return nil, fmt.Errorf("encoding tensor: shape %d x %d with %d values", t.Rows, t.Cols, len(t.Data))
	}
	if dtype == F16 && !fitsF16(t.Data) {
		dtype = F32
	}
	width, err := dtype.width()
	if err != nil {
		return nil, fmt.Errorf("encoding tensor: %w", err)
	}
	if len(t.Data) > (MaxEncoded-headerSize)/width {
		return nil, fmt.Errorf("encoding tensor: %d x %d is over %d bytes", t.Rows, t.Cols, MaxEncoded)
	}
	out := make([]byte, headerSize+len(t.Data)*width)
	copy(out, magic)
	out[4], out[5], out[6] = version, byte(dtype), codecNone
	binary.LittleEndian.PutUint32(out[8:], uint32(t.Rows))
	binary.LittleEndian.PutUint32(out[12:], uint32(t.Cols))
	putValues(out[headerSize:], t.Data, dtype)
	binary.LittleEndian.PutUint32(out[crcOffset:], checksum(out))
	return out, nil
}

// Decode reads a stored tensor. Any fault is ErrCorrupt with its reason. Memory is bounded by a small
// multiple of len(raw).
func Decode(raw []byte) (tensor.Matrix, error) {
	if len(raw) < headerSize || len(raw) > MaxEncoded {
		return tensor.Matrix{}, fmt.Errorf("%w: %d bytes", ErrCorrupt, len(raw))
	}
	if string(raw[:4]) != magic || raw[4] != version || raw[6] != codecNone || raw[7] != 0 {
		return tensor.Matrix{}, fmt.Errorf("%w: header %x", ErrCorrupt, raw[:8])
	}
	dtype := DType(raw[5])
	width, err := dtype.width()
	if err != nil {
		return tensor.Matrix{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	rows, cols := uint64(binary.LittleEndian.Uint32(raw[8:])), uint64(binary.LittleEndian.Uint32(raw[12:]))
	values := uint64((len(raw) - headerSize) / width)
	if rows == 0 || cols == 0 || rows*cols != values || (len(raw)-headerSize)%width != 0 {
		return tensor.Matrix{}, fmt.Errorf("%w: shape %d x %d in %d bytes", ErrCorrupt, rows, cols, len(raw))
	}
	if checksum(raw) != binary.LittleEndian.Uint32(raw[crcOffset:]) {
		return tensor.Matrix{}, fmt.Errorf("%w: checksum differs", ErrCorrupt)
	}
	t := tensor.Matrix{Rows: int(rows), Cols: int(cols), Data: make([]float32, values)}
	getValues(t.Data, raw[headerSize:], dtype)
	return t, nil
}

// width returns the bytes of one value.
func (d DType) width() (int, error) {
	switch d {
	case F32:
		return 4, nil
	case F16:
		return 2, nil
	}
	return 0, fmt.Errorf("unknown number format %d", d)
}

func checksum(raw []byte) uint32 {
	return crc32.Update(crc32.Checksum(raw[:crcOffset], castagnoli), castagnoli, raw[headerSize:])
}

// fitsF16 reports whether no finite value would become infinite.
func fitsF16(data []float32) bool {
	for _, v := range data {
		if (v > maxF16 || v < -maxF16) && !math.IsInf(float64(v), 0) {
			return false
		}
	}
	return true
}

func putValues(dst []byte, data []float32, dtype DType) {
	if dtype == F16 {
		for i, v := range data {
			binary.LittleEndian.PutUint16(dst[2*i:], tensor.F32ToF16(v))
		}
		return
	}
	for i, v := range data {
		binary.LittleEndian.PutUint32(dst[4*i:], math.Float32bits(v))
	}
}

func getValues(dst []float32, raw []byte, dtype DType) {
	if dtype == F16 {
		for i := range dst {
			dst[i] = tensor.F16ToF32(binary.LittleEndian.Uint16(raw[2*i:]))
		}
		return
	}
	for i := range dst {
		dst[i] = math.Float32frombits(binary.LittleEndian.Uint32(raw[4*i:]))
	}
}

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

// A stored tensor has a head and a body, little-endian:
//
//	0 magic (4 bytes)     16 size of the body (4)
//	4 version, 2          20 CRC-32C of the body (4)
//	5 dtype               24 length of the key (2), two zeros
//	6 codec               28 CRC-32C of the head without these four bytes (4)
//	7 a zero              32 the key
//	8 rows (4), cols (4)     the body
//
// The head's checksum covers the key, the shape and the body's checksum, so that a head says alone what the value is, and no part of one
// value passes for a part of another. Version 1 had no key; see legacy.go.
const (
	magic   = "LKT1"
	version = 2
	// headSize is the head without the key.
	headSize  = 32
	crcOffset = 28
	maxKey    = 512
	// maxHead is the longest head, in bytes.
	maxHead = headSize + maxKey
	// MaxEncoded is the largest tensor, in bytes of its numbers. LLark's own embedding of 25 s is about 5 MB.
	MaxEncoded = 64 << 20
	// maxStored is the largest stored value. No codec makes a body larger than its numbers.
	maxStored = maxHead + MaxEncoded
	maxF16    = 65504
)

// ErrCorrupt is returned for bytes that are not a stored tensor.
var ErrCorrupt = errors.New("not a stored tensor")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// head is what a stored tensor says of itself before its numbers.
type head struct {
	dtype DType
	codec Codec
	shape Shape
	// key under which the tensor was stored; "" in version 1, which does not tell.
	key string
	// at is where the body begins, size its length and crc its checksum.
	at, size int
	crc      uint32
}

// Encode makes the stored form of a tensor under its key. It is an error if the shape is empty, does not fit the data, or is too large. A body
// that the codec does not make smaller is stored plain.
func Encode(key string, t tensor.Matrix, dtype DType, codec Codec) ([]byte, error) {
	if len(key) > maxKey {
		return nil, fmt.Errorf("encoding tensor: the key has %d bytes, more than %d", len(key), maxKey)
	}
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
	if len(t.Data) > MaxEncoded/width {
		return nil, fmt.Errorf("encoding tensor: %d x %d is over %d bytes", t.Rows, t.Cols, MaxEncoded)
	}
	at := headSize + len(key)
	out := make([]byte, at+len(t.Data)*width)
	putValues(out[at:], t.Data, dtype)
	if out, codec, err = codec.pack(out, at, width); err != nil {
		return nil, fmt.Errorf("encoding tensor: %w", err)
	}
	copy(out, magic)
	out[4], out[5], out[6] = version, byte(dtype), byte(codec)
	binary.LittleEndian.PutUint32(out[8:], uint32(t.Rows))
	binary.LittleEndian.PutUint32(out[12:], uint32(t.Cols))
	binary.LittleEndian.PutUint32(out[16:], uint32(len(out)-at))
	binary.LittleEndian.PutUint32(out[20:], crc32.Checksum(out[at:], castagnoli))
	binary.LittleEndian.PutUint16(out[24:], uint16(len(key)))
	copy(out[headSize:], key)
	binary.LittleEndian.PutUint32(out[crcOffset:], headSum(out[:at]))
	return out, nil
}

// Decode reads a stored tensor and the key that it was stored under; the key is "" in values of version 1. Any fault is ErrCorrupt with its
// reason. It takes no more memory than the shape in the head needs, which is bounded by MaxEncoded, whatever the body is.
func Decode(raw []byte) (key string, t tensor.Matrix, err error) {
	h, err := readHead(raw, len(raw))
	if err != nil {
		return "", tensor.Matrix{}, err
	}
	body := raw[h.at:]
	if sum := h.bodySum(raw); sum != h.crc {
		return "", tensor.Matrix{}, fmt.Errorf("%w: checksum differs", ErrCorrupt)
	}
	width, err := h.dtype.width()
	if err != nil {
		return "", tensor.Matrix{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	values := h.shape.Rows * h.shape.Cols
	plain, err := h.codec.unpack(body, values*width, width)
	if err != nil {
		return "", tensor.Matrix{}, fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	t = tensor.Matrix{Rows: h.shape.Rows, Cols: h.shape.Cols, Data: make([]float32, values)}
	getValues(t.Data, plain, h.dtype)
	return h.key, t, nil
}

// readHead reads the head of a stored value of size bytes; raw is its beginning, at least maxHead bytes or all of it.
func readHead(raw []byte, size int) (head, error) {
	if len(raw) < legacyHeadSize || size > maxStored {
		return head{}, fmt.Errorf("%w: %d bytes", ErrCorrupt, size)
	}
	if string(raw[:4]) != magic || raw[7] != 0 {
		return head{}, fmt.Errorf("%w: head %x", ErrCorrupt, raw[:8])
	}
	if raw[4] == legacyVersion {
		return readLegacyHead(raw, size)
	}
	if raw[4] != version || len(raw) < headSize || raw[26] != 0 || raw[27] != 0 {
		return head{}, fmt.Errorf("%w: head %x", ErrCorrupt, raw[:8])
	}
	h := head{dtype: DType(raw[5]), codec: Codec(raw[6]), at: headSize + int(binary.LittleEndian.Uint16(raw[24:]))}
	if h.at > maxHead || h.at > len(raw) || headSum(raw[:h.at]) != binary.LittleEndian.Uint32(raw[crcOffset:]) {
		return head{}, fmt.Errorf("%w: checksum of the head differs", ErrCorrupt)
	}
	h.key = string(raw[headSize:h.at])
	h.size, h.crc = int(binary.LittleEndian.Uint32(raw[16:])), binary.LittleEndian.Uint32(raw[20:])
	return h, h.check(raw, size)
}

// check reads the shape and compares it with the sizes.
func (h *head) check(raw []byte, size int) error {
	width, err := h.dtype.width()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	rows, cols := uint64(binary.LittleEndian.Uint32(raw[8:])), uint64(binary.LittleEndian.Uint32(raw[12:]))
	if rows == 0 || cols == 0 || rows > MaxEncoded || cols > MaxEncoded || rows*cols > uint64(MaxEncoded/width) {
		return fmt.Errorf("%w: shape %d x %d", ErrCorrupt, rows, cols)
	}
	h.shape = Shape{Rows: int(rows), Cols: int(cols)}
	plain := h.shape.Rows * h.shape.Cols * width
	if h.at+h.size != size || h.size > plain || (h.codec == Plain && h.size != plain) {
		return fmt.Errorf("%w: shape %d x %d in %d bytes", ErrCorrupt, rows, cols, size)
	}
	return nil
}

// headSum is the checksum of a head with its key.
func headSum(head []byte) uint32 {
	return crc32.Update(crc32.Checksum(head[:crcOffset], castagnoli), castagnoli, head[headSize:])
}

// bodySum is the checksum that the value must have.
func (h *head) bodySum(raw []byte) uint32 {
	if raw[4] == legacyVersion {
		return legacySum(raw)
	}
	return crc32.Checksum(raw[h.at:], castagnoli)
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

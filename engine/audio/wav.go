package audio

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
)

// Format tags of a WAVE fmt chunk (RFC 2361).
const (
	wavPCM        = 1
	wavFloat      = 3
	wavExtensible = 0xfffe
)

// unknownSize stands in a header written to a pipe, where the length could not be filled in.
const unknownSize = 0xffffffff

// blockFrames is how many frames a decoder hands over at a time, at most.
const blockFrames = 4096

type wavFormat struct {
	tag, channels, bits int
	rate                int
}

// openWAV reads the chunks before the samples. PCM of 8, 16, 24 and 32 bits and float of 32 and 64 are
// read; any other codec is errUnsupported.
func openWAV(r *bufio.Reader) (*source, error) {
	if _, err := r.Discard(12); err != nil {
		return nil, undecodable("reading wav header: %w", err)
	}
	var f *wavFormat
	for {
		id, size, err := chunkHeader(r)
		if err != nil {
			return nil, err
		}
		switch id {
		case "fmt ":
			if f, err = readFormat(r, size); err != nil {
				return nil, err
			}
		case "data":
			if f == nil {
				return nil, undecodable("wav has samples before their format")
			}
			return f.source(r, size)
		default:
			if _, err := r.Discard(int(size) + int(size&1)); err != nil {
				return nil, undecodable("skipping wav chunk %q of %d bytes: %w", id, size, err)
			}
		}
	}
}

func chunkHeader(r *bufio.Reader) (string, uint32, error) {
	var h [8]byte
	if _, err := io.ReadFull(r, h[:]); err != nil {
		return "", 0, undecodable("looking for wav samples: %w", err)
	}
	return string(h[:4]), binary.LittleEndian.Uint32(h[4:]), nil
}

func readFormat(r *bufio.Reader, size uint32) (*wavFormat, error) {
	if size < 16 || size > 4096 {
		return nil, undecodable("wav format chunk of %d bytes", size)
	}
	b := make([]byte, size+size&1)
	if _, err := io.ReadFull(r, b); err != nil {
		return nil, undecodable("reading wav format: %w", err)
	}
	f := &wavFormat{
		tag:      int(binary.LittleEndian.Uint16(b)),
		channels: int(binary.LittleEndian.Uint16(b[2:])),
		rate:     int(min(binary.LittleEndian.Uint32(b[4:]), math.MaxInt32)),
		bits:     int(binary.LittleEndian.Uint16(b[14:])),
	}
	if f.tag == wavExtensible && size >= 40 {
		f.tag = int(binary.LittleEndian.Uint16(b[24:])) // the sub-format GUID begins with the tag
	}
	if f.tag != wavPCM && f.tag != wavFloat {
		return nil, fmt.Errorf("wav codec 0x%04x: %w", f.tag, errUnsupported)
	}
	align := int(binary.LittleEndian.Uint16(b[12:]))
	if decodeWAV(f.tag, f.bits) == nil || align != f.channels*f.bits/8 {
		return nil, undecodable("wav of %d bits, %d channels and %d bytes a frame", f.bits, f.channels, align)
	}
	return f, nil
}

func (f *wavFormat) source(r io.Reader, size uint32) (*source, error) {
	s := &source{rate: f.rate, channels: f.channels}
	if err := s.check(); err != nil {
		return nil, err
	}
	frameBytes := f.channels * f.bits / 8
	if size == 0 {
		return nil, &Error{Code: Empty, Err: errors.New("the wav file holds no samples")}
	}
	if size != unknownSize {
		s.declared = int64(size) / int64(frameBytes)
		r = io.LimitReader(r, s.declared*int64(frameBytes))
	}
	raw := make([]byte, blockFrames*frameBytes)
	out := make([]float32, blockFrames*f.channels)
	decode := decodeWAV(f.tag, f.bits)
	s.next = func() ([]float32, error) {
		n, err := io.ReadFull(r, raw)
		if err != nil && !atEnd(err) {
			return nil, fmt.Errorf("reading wav samples: %w", err)
		}
		frames := n / frameBytes
		if frames == 0 {
			return nil, io.EOF
		}
		block := out[:frames*f.channels]
		decode(block, raw)
		return block, nil
	}
	return s, nil
}

// decodeWAV returns the conversion of little-endian samples, nil where there is none.
func decodeWAV(tag, bits int) func(dst []float32, src []byte) {
	switch {
	case tag == wavPCM && bits == 8:
		return decodeEach(1, func(b []byte) float32 { return float32(int(b[0])-128) / (1 << 7) })
	case tag == wavPCM && bits == 16:
		return decodeEach(2, func(b []byte) float32 { return float32(int16(binary.LittleEndian.Uint16(b))) / (1 << 15) })
	case tag == wavPCM && bits == 24:
		return decodeEach(3, func(b []byte) float32 {
			return float32(int32(b[0])<<8|int32(b[1])<<16|int32(b[2])<<24) / (1 << 31)
		})
	case tag == wavPCM && bits == 32:
		return decodeEach(4, func(b []byte) float32 { return float32(int32(binary.LittleEndian.Uint32(b))) / (1 << 31) })
	case tag == wavFloat && bits == 32:
		return decodeEach(4, func(b []byte) float32 { return math.Float32frombits(binary.LittleEndian.Uint32(b)) })
	case tag == wavFloat && bits == 64:
		return decodeEach(8, func(b []byte) float32 { return float32(math.Float64frombits(binary.LittleEndian.Uint64(b))) })
	}
	return nil
}

func decodeEach(width int, one func([]byte) float32) func([]float32, []byte) {
	return func(dst []float32, src []byte) {
		for i := range dst {
			dst[i] = one(src[i*width : (i+1)*width])
		}
	}
}

package audio

import (
	"bufio"
	"encoding/binary"
	"io"
)

// flacInfo is the STREAMINFO block (RFC 9639, section 8.2).
type flacInfo struct {
	block          int // smallest block, in samples; of all blocks if their size is fixed
	rate, channels int
	bits           uint8
	samples        int64 // 0 if unknown
	sum            [16]byte
}

// hasSum tells whether the encoder wrote the MD5 of the sound.
func (f flacInfo) hasSum() bool { return f.sum != [16]byte{} }

const (
	flacStreamInfo = 0
	flacInfoBytes  = 34
)

// readFLACInfo reads the metadata blocks up to the first frame and keeps nothing but the stream information, which must come first.
func readFLACInfo(r *bufio.Reader) (flacInfo, error) {
	var head [4 + 4 + flacInfoBytes]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return flacInfo{}, undecodable("the flac file ends in its header")
	}
	kind, size, last := flacBlock(head[4:8])
	if kind != flacStreamInfo || size != flacInfoBytes {
		return flacInfo{}, undecodable("the flac file does not begin with its stream information, but with a block of kind %d and %d bytes", kind, size)
	}
	b := head[8:]
	info := flacInfo{
		block:    int(binary.BigEndian.Uint16(b)),
		rate:     int(binary.BigEndian.Uint32(b[10:]) >> 12),
		channels: int(b[12]>>1&7) + 1,
		bits:     (b[12]&1<<4 | b[13]>>4) + 1,
		samples:  int64(binary.BigEndian.Uint64(b[10:]) & (1<<36 - 1)),
		sum:      [16]byte(b[18:]),
	}
	for !last {
		var next [4]byte
		if _, err := io.ReadFull(r, next[:]); err != nil {
			return info, undecodable("the flac file ends in its header")
		}
		kind, size, last = flacBlock(next[:])
		if _, err := r.Discard(size); err != nil {
			return info, undecodable("a block of kind %d and %d bytes in the header of the flac file is longer than the file", kind, size)
		}
	}
	return info, nil
}

// flacBlock parses the header of a metadata block (RFC 9639, section 8.1).
func flacBlock(h []byte) (kind, size int, last bool) {
	return int(h[0] & 0x7f), int(h[1])<<16 | int(h[2])<<8 | int(h[3]), h[0]&0x80 != 0
}

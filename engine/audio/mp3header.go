package audio

import (
	"bytes"
	"encoding/binary"
)

// mp3Kind is what all frames of one stream of MPEG audio have in common.
type mp3Kind struct {
	version byte // as in the header: 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5
	layer   byte // as in the header: 1 is layer III, 2 is II, 3 is I
	rate    int
	free    bool // the bit rate is not told
}

// mp3Header is what the four bytes before a frame say (ISO 11172-3, section 2.4.1.3; ISO 13818-3, section 2.4.2.3).
type mp3Header struct {
	mp3Kind
	size    int // bytes of the frame; 0 if the bit rate is free
	samples int // of one channel
	padding int // bytes
	mono    bool
	crc     bool
}

// inGo tells whether the Go decoder reads frames of this kind: layer III of MPEG 1 with a told bit rate. Of MPEG 2 it reads wrong frame lengths (go-mp3
// 0.3.4 halves a rounded-down size after adding the padding byte), and the rest it does not read at all.
func (k mp3Kind) inGo() bool { return k.version == 3 && k.layer == 1 && !k.free }

// Tables of MPEG audio: bit rates in kbit/s by row and index, sample rates of MPEG 1 in Hz.
var (
	mp3Kbps = [5][15]int{
		{0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448}, // MPEG 1, layer I
		{0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384},    // II
		{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320},     // III
		{0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256},    // MPEG 2 and 2.5, layer I
		{0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160},         // II and III
	}
	mp3Rates = [3]int{44100, 48000, 32000}
)

// parseMP3Header returns false for what is no MPEG audio header.
func parseMP3Header(b []byte) (mp3Header, bool) {
	if len(b) < 4 || b[0] != 0xff || b[1]&0xe0 != 0xe0 {
		return mp3Header{}, false
	}
	version, layer, bitrate, rate := b[1]>>3&3, b[1]>>1&3, b[2]>>4, b[2]>>2&3
	if version == 1 || layer == 0 || bitrate == 15 || rate == 3 || b[3]&3 == 2 {
		return mp3Header{}, false
	}
	h := mp3Header{
		mp3Kind: mp3Kind{version: version, layer: layer, rate: mp3Rates[rate], free: bitrate == 0},
		mono:    b[3]>>6 == 3, crc: b[1]&1 == 0, padding: int(b[2] >> 1 & 1), samples: 1152,
	}
	row := 3 - int(layer)
	if version != 3 {
		h.rate >>= 1
		row = min(4, 3+row)
	}
	if version == 0 {
		h.rate >>= 1
	}
	switch {
	case layer == 3:
		h.samples, h.padding = 384, 4*h.padding
	case layer == 1 && version != 3:
		h.samples = 576
	}
	if !h.free {
		h.size = h.bytes(mp3Kbps[row][bitrate] * 1000)
	}
	return h, true
}

// bytes is the size of a frame at a bit rate. Layer I counts in slots of four bytes.
func (h mp3Header) bytes(bitrate int) int {
	if h.layer == 3 {
		return h.samples/8/4*bitrate/h.rate*4 + h.padding
	}
	return h.samples/8*bitrate/h.rate + h.padding
}

// infoDamaged tells whether the header that encoders write into the first frame contradicts its own checksum (the LAME tag, revision 1): CRC-16 of what
// stands before it, as LAME writes it, or of the first 190 bytes of the frame with the checksum as 0, as Lavf does.
func infoDamaged(head []byte, h mp3Header) bool {
	const encoder, sum, summed = 120, 154, 190 // bytes from the magic, and from the frame
	at := 4 + h.sideSize()
	if len(head) < summed+2 || h.size < summed || !hasMagic(head, at, "Xing") && !hasMagic(head, at, "Info") {
		return false
	}
	written := hasMagic(head, at+encoder, "LAME") || hasMagic(head, at+encoder, "Lavf") || hasMagic(head, at+encoder, "Lavc")
	frame := bytes.Clone(head[:summed])
	told := binary.BigEndian.Uint16(head[at+sum:])
	byLAME := crc16(frame[:at+sum])
	clear(frame[at+sum:][:min(2, summed-at-sum)])
	return written && told != 0 && told != byLAME && told != crc16(frame)
}

// crc16 has the polynomial 8005, reflected, and begins with 0.
func crc16(b []byte) (sum uint16) {
	for _, v := range b {
		sum ^= uint16(v)
		for range 8 {
			sum = sum>>1 ^ sum&1*0xa001
		}
	}
	return sum
}

// xingFrames reads the number of frames from the Xing or Info header that most encoders write into the first frame of layer
// III; 0 where there is none.
func xingFrames(head []byte, h mp3Header) int64 {
	side := h.sideSize()
	for _, at := range []int{4 + side, 4 + side + 2} { // the checksum of two bytes comes first in some files
		if len(head) >= at+12 && (hasMagic(head, at, "Xing") || hasMagic(head, at, "Info")) && head[at+7]&1 != 0 {
			return int64(binary.BigEndian.Uint32(head[at+8:]))
		}
	}
	return 0
}

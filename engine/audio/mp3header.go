package audio

import "encoding/binary"

// mp3Kind is what all frames of one stream of MPEG audio have in common.
type mp3Kind struct {
	version byte // as in the header: 3 is MPEG 1, 2 is MPEG 2, 0 is MPEG 2.5
	layer   byte // as in the header: 1 is layer III, 2 is II, 3 is I
	rate    int
	mono    bool
	free    bool // the bit rate is not told
}

func (k mp3Kind) channels() int {
	if k.mono {
		return 1
	}
	return 2
}

// mp3Header is what the four bytes before a frame say (ISO 11172-3, section 2.4.1.3; ISO 13818-3, section 2.4.2.3).
type mp3Header struct {
	mp3Kind
	size    int // bytes of the frame; 0 if the bit rate is free
	samples int // of one channel
	padding int // bytes
	crc     bool
	// midSide and intensity are the two ways of joint stereo in layer III.
	midSide, intensity bool
}

// layerIII is the layer of mp3, as in the header.
const layerIII = 1

// inGo tells whether the Go decoder reads frames of this kind, where there is no ffmpeg: layer III of MPEG 1 with a told bit rate. Of MPEG 2 it reads
// wrong frame lengths (go-mp3 0.3.4 halves a rounded-down size after adding the padding byte), and the rest it does not read at all.
func (k mp3Kind) inGo() bool { return k.version == 3 && k.layer == layerIII && !k.free }

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
	const joint, mono = 1, 3
	mode := b[3] >> 6
	h := mp3Header{
		mp3Kind: mp3Kind{version: version, layer: layer, rate: mp3Rates[rate], mono: mode == mono, free: bitrate == 0},
		crc:     b[1]&1 == 0, padding: int(b[2] >> 1 & 1), samples: 1152,
		midSide: mode == joint && b[3]&0x20 != 0, intensity: mode == joint && b[3]&0x10 != 0,
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
	case layer == layerIII && version != 3:
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

// infoAt is where the header stands that most encoders write into the first frame of layer III in place of sound (Xing or Info), -1 if there is none.
func infoAt(frame []byte, h mp3Header) int {
	side := 4 + h.sideSize()
	for _, at := range []int{side, side + 2} { // the checksum of two bytes comes first in some files
		if hasMagic(frame, at, "Xing") || hasMagic(frame, at, "Info") {
			return at
		}
	}
	return -1
}

// isInfo tells such a frame. Fraunhofer's encoders write another header, in the same place whatever the frame.
func isInfo(frame []byte, h mp3Header) bool {
	return infoAt(frame, h) >= 0 || hasMagic(frame, 4+32, "VBRI")
}

// xingFrames reads the number of frames from the header in the first frame; 0 where there is none.
func xingFrames(head []byte, h mp3Header) int64 {
	if at := infoAt(head, h); at >= 0 && len(head) >= at+12 && head[at+7]&1 != 0 {
		return int64(binary.BigEndian.Uint32(head[at+8:]))
	}
	return 0
}

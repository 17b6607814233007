package audio

// maxReservoir is how many bytes before a frame its main data may begin, at most.
const maxReservoir = 511

// split returns the side information and the main data of a frame of layer III. Both are empty if the frame is too short for them.
func (h mp3Header) split(frame []byte) (side, main []byte) {
	at := 4
	if h.crc {
		at += 2
	}
	if len(frame) < at+h.sideSize() {
		return nil, nil
	}
	return frame[at : at+h.sideSize()], frame[at+h.sideSize():]
}

// sideSize is the size of the side information of layer III.
func (h mp3Header) sideSize() int {
	switch {
	case h.version == 3 && !h.mono:
		return 32
	case h.version != 3 && h.mono:
		return 9
	}
	return 17
}

// maxBegin is how many bytes before the frame its main data may begin.
func (h mp3Header) maxBegin() int {
	if h.version == 3 {
		return maxReservoir
	}
	return 255
}

// parseSideInfo returns where the main data begins, in bytes before the frame, its length in bits, and whether the numbers can be
// (ISO 11172-3, section 2.4.1.7; ISO 13818-3, section 2.4.1.7).
func parseSideInfo(side []byte, h mp3Header) (begin, bits int, sound bool) {
	if len(side) < h.sideSize() {
		return 0, 0, false
	}
	at := 0
	take := func(n int) (v int) {
		for ; n > 0; n-- {
			v = v<<1 | int(side[at>>3]>>(7-at&7)&1)
			at++
		}
		return v
	}
	// Bits of the offset, the private bits and the scale factor selection, parts, bits of a part.
	offset, rest, parts, part := 9, 3+2*4, 4, 59
	switch {
	case h.version == 3 && h.mono:
		rest, parts = 5+4, 2
	case h.version != 3 && h.mono:
		offset, rest, parts, part = 8, 1, 1, 63
	case h.version != 3:
		offset, rest, parts, part = 8, 2, 2, 63
	}
	begin = take(offset)
	at += rest
	sound = true
	for range parts {
		bits += take(12)
		sound = take(9) <= 288 && sound // pairs of 576 lines
		at += part - 12 - 9
	}
	return begin, bits, sound
}

// setBegin writes where the main data begins.
func setBegin(side []byte, begin int, h mp3Header) {
	if h.version == 3 {
		side[0], side[1] = byte(begin>>1), byte(begin&1)<<7|side[1]&0x7f
		return
	}
	side[0] = byte(begin)
}

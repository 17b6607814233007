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

// sideInfo is what the side information of a frame says.
type sideInfo struct {
	begin int  // of the main data, in bytes before the frame
	bits  int  // of the main data
	short bool // a part of the sound is in short blocks
	sound bool // the numbers can be
}

// parseSideInfo reads it (ISO 11172-3, section 2.4.1.7; ISO 13818-3, section 2.4.1.7).
func parseSideInfo(side []byte, h mp3Header) (info sideInfo) {
	if len(side) < h.sideSize() {
		return sideInfo{}
	}
	at := 0
	take := func(n int) (v int) {
		for ; n > 0; n-- {
			v = v<<1 | int(side[at>>3]>>(7-at&7)&1)
			at++
		}
		return v
	}
	// Bits of the offset, the private bits and the scale factor selection, parts, bits of a part and of the choice of scale factors in it.
	offset, rest, parts, part, scale := 9, 3+2*4, 4, 59, 4
	if h.version != 3 {
		offset, rest, parts, part, scale = 8, 2, 2, 63, 9
	}
	switch {
	case h.version == 3 && h.mono:
		rest, parts = 5+4, 2
	case h.mono:
		rest, parts = 1, 1
	}
	info.begin = take(offset)
	at += rest
	info.sound = true
	for range parts {
		next := at + part
		info.bits += take(12)
		info.sound = take(9) <= 288 && info.sound // pairs of 576 lines
		at += 8 + scale                           // behind the gain
		if take(1) == 1 {                         // the windows are not the usual ones
			const usual, short = 0, 2
			kind := take(2)
			info.short = kind == short || info.short
			info.sound = kind != usual && info.sound
		}
		at = next
	}
	return info
}

// setBegin writes where the main data begins.
func setBegin(side []byte, begin int, h mp3Header) {
	if h.version == 3 {
		side[0], side[1] = byte(begin>>1), byte(begin&1)<<7|side[1]&0x7f
		return
	}
	side[0] = byte(begin)
}

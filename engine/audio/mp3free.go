package audio

// freePacker turns frames of layer III of free bit rate into frames of the highest bit rate that has a number, which ffmpeg reads. What a
// frame does not hold goes to the end of the one before, as the format allows (ISO 11172-3, section 2.4.3.4).
type freePacker struct {
	reservoir []byte // of main data before the frame, as it came
	waiting   []byte // the frame before, still to be handed on
	spare     int    // bytes at its end that hold nothing
	fault     error  // of the frame that came last
}

// pack takes a frame and returns the frame before it, nil at first.
func (p *freePacker) pack(h mp3Header, frame []byte) []byte {
	side, main := h.split(frame)
	info := parseSideInfo(side, h)
	need := (info.bits + 7) / 8
	all := append(p.reservoir[max(0, len(p.reservoir)-info.begin):len(p.reservoir):len(p.reservoir)], main...)
	own := h.biggest(frame)
	slot := own[4+len(side):]
	excess := max(0, need-len(slot))
	p.fault = nil
	if info.begin > len(p.reservoir) || !info.sound || need > len(all) || excess > min(p.spare, h.maxBegin()) {
		p.fault = errSideInfo
		if excess > 0 {
			p.fault = errFreeLarge
		}
		need, excess = 0, 0
		clear(own[4 : 4+len(side)])
	} else {
		copy(own[4:], side)
		setBegin(own[4:], excess, h)
	}
	copy(p.waiting[len(p.waiting)-excess:], all[:excess])
	copy(slot, all[excess:need])
	out := p.waiting
	p.waiting, p.spare = own, len(slot)-(need-excess)
	p.reservoir = append(p.reservoir[max(0, len(p.reservoir)-maxReservoir):], main...)
	p.reservoir = p.reservoir[max(0, len(p.reservoir)-maxReservoir):]
	return out
}

// biggest is an empty frame of the highest bit rate, with the header of a given one and no checksum.
func (h mp3Header) biggest(frame []byte) []byte {
	const index = 14
	rate := 320_000
	if h.version != 3 {
		rate = 160_000
	}
	h.padding = 0
	out := make([]byte, h.bytes(rate))
	copy(out, []byte{frame[0], frame[1] | 1, index<<4 | frame[2]&0x0c, frame[3]})
	return out
}

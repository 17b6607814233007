package audio

import (
	"encoding/binary"
	"fmt"
	"io"

	mp3 "github.com/hajimehoshi/go-mp3"
)

// mp3InGo decodes a run of frames of layer III of MPEG 1 where ffmpeg is not installed. The library reads some frames of joint stereo wrong: they are
// told of.
type mp3InGo struct {
	feed   *mp3Feed
	faults *Faults
	d      *mp3.Decoder
	raw    [4 * 1152]byte
	out    [2 * 1152]float32
	told   map[string]bool // ways in which frames are read wrong
}

// frame decodes one frame. A frame that cannot be decoded is silent.
func (m *mp3InGo) frame() ([]float32, error) {
	h, err := m.feed.load()
	if err != nil {
		return nil, err
	}
	m.tell(h)
	if err := m.read(); err != nil {
		m.feed.frames.silenced(err)
		m.d = nil
		m.feed.drop()
		clear(m.raw[:])
	}
	// The library gives both sides, of mono the same twice.
	out := m.out[:h.samples*h.channels()]
	step := 2 / h.channels()
	for i := range out {
		out[i] = float32(int16(binary.LittleEndian.Uint16(m.raw[2*step*i:]))) / (1 << 15)
	}
	return out, nil
}

// tell notes the first frame of each kind that the library (go-mp3 0.3.4) reads wrong: it makes left and right of middle and side too late where blocks are short, and
// silences the right side in intensity stereo.
func (m *mp3InGo) tell(h mp3Header) {
	way := ""
	switch {
	case m.feed.side.bits == 0:
	case h.intensity:
		way = "intensity stereo, whose right side is silent above a few kHz without ffmpeg"
	case h.midSide && m.feed.side.short:
		way = "mid/side stereo with short blocks, whose highest band may be a little wrong without ffmpeg"
	}
	if way == "" || m.told[way] {
		return
	}
	if m.told == nil {
		m.told = map[string]bool{}
	}
	m.told[way] = true
	at := m.feed.frames.begun()
	m.faults.add(InexactStereo, at, "the mp3 has frames, the first at %.1f s, in %s: install it (apt install ffmpeg, brew install ffmpeg) where chunker-svc runs", at, way)
}

// read decodes the frame that is loaded. It contains a panic of the library.
func (m *mp3InGo) read() (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decoding mp3 frame: %v", p)
		}
	}()
	if m.d == nil {
		d, err := mp3.NewDecoder(struct{ io.Reader }{m.feed})
		if err != nil {
			return fmt.Errorf("decoding mp3 frame: %w", err)
		}
		m.d = d
	}
	if _, err = io.ReadFull(m.d, m.raw[:]); err != nil {
		return fmt.Errorf("decoding mp3 frame: %w", err)
	}
	return nil
}

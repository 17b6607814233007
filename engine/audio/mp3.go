package audio

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	mp3 "github.com/hajimehoshi/go-mp3"
)

// maxResyncs bounds how often decoding starts again after damaged data in the middle of an mp3.
const maxResyncs = 64

// maxMP3Frame is more than the bytes of the largest frame and the header after it.
const maxMP3Frame = 2048

// mp3Header is what the four bytes before a frame say (ISO 11172-3, section 2.4.1.3).
type mp3Header struct {
	supported  bool
	rate, size int // Hz, bytes
	mono, crc  bool
}

// Tables of layer III of MPEG 1.
var (
	mp3Kbps  = [16]int{0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320}
	mp3Rates = [4]int{44100, 48000, 32000}
)

const mp3FrameSamples = 1152

// parseMP3Header returns false for what is no MPEG audio header. Only layer III of MPEG 1 is left to the Go decoder:
// of MPEG 2 it reads wrong frame lengths (go-mp3 0.3.4 halves a rounded-down size after adding the padding byte), and the
// rest it does not read at all.
func parseMP3Header(b []byte) (mp3Header, bool) {
	if len(b) < 4 || b[0] != 0xff || b[1]&0xe0 != 0xe0 {
		return mp3Header{}, false
	}
	version, layer := b[1]>>3&3, b[1]>>1&3
	bitrate, rate := b[2]>>4, b[2]>>2&3
	if version == 1 || layer == 0 || bitrate == 15 || rate == 3 || b[3]&3 == 2 {
		return mp3Header{}, false
	}
	h := mp3Header{supported: version == 3 && layer == 1 && bitrate != 0, mono: b[3]>>6 == 3, crc: b[1]&1 == 0}
	if h.supported {
		h.rate = mp3Rates[rate]
		h.size = mp3FrameSamples/8*mp3Kbps[bitrate]*1000/h.rate + int(b[2]>>1&1)
	}
	return h, true
}

// findMP3 returns where the first frame begins. A header alone proves nothing, since its pattern is
// common: another one must follow at the distance that it gives, or the data must end there.
func findMP3(head []byte) (int, bool) {
	for i := 0; i+4 <= len(head); i++ {
		h, ok := parseMP3Header(head[i:])
		if !ok || !h.supported {
			continue
		}
		after := i + h.size
		if after == len(head) {
			return i, true
		}
		if after < len(head) {
			if next, ok := parseMP3Header(head[after:]); ok && next.supported && next.rate == h.rate {
				return i, true
			}
		}
	}
	return 0, false
}

func openMP3(r *bufio.Reader) (*source, error) {
	head, err := peek(r, 4096)
	if err != nil {
		return nil, err
	}
	h, ok := parseMP3Header(head)
	if !ok {
		return nil, undecodable("reading mp3: no frame found")
	}
	if !h.supported {
		return nil, fmt.Errorf("MPEG audio other than layer III of MPEG 1: %w", errUnsupported)
	}
	d := &mp3Reader{r: r, rate: h.rate, raw: make([]byte, 4*blockFrames), out: make([]float32, 2*blockFrames)}
	return &source{rate: h.rate, channels: 2, declared: xingSamples(head, h), next: d.next, skip: d.skip}, nil
}

// xingSamples reads the number of frames from the Xing or Info header that most encoders write into
// the first frame, in samples; 0 where there is none.
func xingSamples(head []byte, h mp3Header) int64 {
	at := 4 + 32 // header, side information
	if h.mono {
		at = 4 + 17
	}
	if h.crc {
		at += 2
	}
	if len(head) < at+12 || (!hasMagic(head, at, "Xing") && !hasMagic(head, at, "Info")) || head[at+7]&1 == 0 {
		return 0
	}
	return int64(binary.BigEndian.Uint32(head[at+8:])) * mp3FrameSamples
}

// mp3Reader decodes to stereo and starts again behind damaged data, as players do.
type mp3Reader struct {
	r       *bufio.Reader
	d       *mp3.Decoder
	rate    int
	resyncs int
	raw     []byte
	out     []float32
}

func (m *mp3Reader) next() ([]float32, error) {
	for {
		n, err := m.read()
		if frames := n / 4; frames > 0 {
			return m.convert(frames), nil
		}
		if err == nil {
			continue
		}
		if atEnd(err) {
			return nil, io.EOF
		}
		if err := m.resync(err); err != nil {
			return nil, err
		}
	}
}

// skip passes over one frame by its header. The decoder reads whole frames, so that the reader stands at one.
func (m *mp3Reader) skip() (int64, error) {
	for {
		head, err := peek(m.r, 4)
		if err != nil {
			return 0, err
		}
		if len(head) < 4 {
			return 0, io.EOF
		}
		if h, ok := parseMP3Header(head); ok && h.supported && h.rate == m.rate {
			if _, err := m.r.Discard(h.size); err != nil {
				return 0, err // io.EOF in the last frame, which the decoder would not give either
			}
			return mp3FrameSamples, nil
		}
		if err := m.resync(errors.New("no frame where one was expected")); err != nil {
			return 0, err
		}
	}
}

// resync leaves the reader at the next place where two frames follow each other, or returns io.EOF.
func (m *mp3Reader) resync(why error) error {
	if m.resyncs++; m.resyncs > maxResyncs {
		return undecodable("reading mp3: damaged in more than %d places: %w", maxResyncs, why)
	}
	m.d = nil
	for {
		head, err := peek(m.r, peekBytes)
		if err != nil {
			return err
		}
		at, ok := findMP3(head)
		if !ok && len(head) < peekBytes {
			return io.EOF
		}
		if !ok {
			at = len(head) - maxMP3Frame
		}
		if _, err := m.r.Discard(at); err != nil || ok {
			return err
		}
	}
}

// read fills raw as far as whole frames go. The decoder is made here so that a panic in it is met again at the
// next call with less input left, never at the same place.
func (m *mp3Reader) read() (n int, err error) {
	defer func() {
		if p := recover(); p != nil {
			n, err = 0, fmt.Errorf("decoding mp3 frame: %v", p)
		}
	}()
	if m.d == nil {
		d, err := mp3.NewDecoder(struct{ io.Reader }{m.r})
		if err != nil {
			return 0, err
		}
		if d.SampleRate() != m.rate {
			return 0, errors.New("decoding mp3 frame: the sample rate changes")
		}
		m.d = d
	}
	return io.ReadAtLeast(m.d, m.raw, 4)
}

func (m *mp3Reader) convert(frames int) []float32 {
	out := m.out[:2*frames]
	for i := range out {
		out[i] = float32(int16(binary.LittleEndian.Uint16(m.raw[2*i:]))) / (1 << 15)
	}
	return out
}

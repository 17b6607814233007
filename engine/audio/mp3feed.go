package audio

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// Reasons for which a frame is silenced.
var (
	errSideInfo  = errors.New("its side information contradicts itself")
	errFreeLarge = errors.New("it holds more than frames with a bit rate can")
)

// mp3Feed makes frames of layer III ready for a decoder. Main data may begin in the frames before (ISO 11172-3, section 2.4.3.4): where those are not
// there, after damage, the frame is made silent, since a decoder would decode noise or leave the frame out. So is a frame that contradicts itself, and one
// with a header in place of sound, by which ffmpeg would cut the beginning and the end off. Every frame is sound of the length that it tells.
type mp3Feed struct {
	frames    *mp3Frames
	frame     []byte // not yet read
	side      sideInfo
	own       []byte // a changed frame
	reservoir []byte // the main data before the frame, at most maxReservoir bytes
}

// load takes the next frame.
func (f *mp3Feed) load() (mp3Header, error) {
	h, frame, err := f.frames.next()
	if err != nil {
		return h, err
	}
	if f.frames.afterGap {
		f.reservoir, f.frames.afterGap = f.reservoir[:0], false
	}
	side, main := h.split(frame)
	f.side = parseSideInfo(side, h)
	switch {
	case isInfo(frame, h):
		frame = f.silence(h, frame)
		_, rest := h.split(frame)
		clear(rest)
	case !f.side.sound || f.side.begin <= len(f.reservoir) && f.side.bits > 8*(f.side.begin+len(main)):
		frame = f.silence(h, frame)
		f.frames.silenced(errSideInfo)
	case f.side.begin > len(f.reservoir):
		frame = f.silence(h, frame)
	}
	f.frame = frame
	f.reservoir = append(f.reservoir, main...)
	f.reservoir = f.reservoir[max(0, len(f.reservoir)-maxReservoir):]
	return h, nil
}

// Read reads the rest of the frame in hand.
func (f *mp3Feed) Read(p []byte) (int, error) {
	if len(f.frame) == 0 {
		return 0, io.EOF
	}
	n := copy(p, f.frame)
	f.frame = f.frame[n:]
	return n, nil
}

// drop forgets the frame in hand and those before, as the library does that begins anew.
func (f *mp3Feed) drop() { f.frame, f.reservoir = nil, f.reservoir[:0] }

// silence empties the side information of a frame but keeps its main data for those that follow.
func (f *mp3Feed) silence(h mp3Header, frame []byte) []byte {
	f.own, f.side = append(f.own[:0], frame...), sideInfo{}
	side, _ := h.split(f.own)
	if len(side) == 0 {
		return f.own
	}
	clear(side)
	setBegin(side, len(f.reservoir), h)
	return f.own
}

// mp3Run reads a run as a wav stream of mp3 frames, for ffmpeg.
type mp3Run struct {
	frames  *mp3Frames
	feed    *mp3Feed    // of layer III
	packer  *freePacker // of layer III where the bit rate is free
	limits  Limits
	frame   []byte
	samples int64 // of one channel, so far
	err     error
}

func newMP3Run(frames *mp3Frames, limits Limits) *mp3Run {
	r := &mp3Run{frames: frames, limits: limits, frame: frames.kind.wavHeader()}
	switch {
	case frames.kind.free:
		r.packer = &freePacker{}
	case frames.kind.layer == layerIII:
		r.feed = &mp3Feed{frames: frames}
	}
	return r
}

// wavHeader is the header of a wav stream of frames, whose length is not told. ffmpeg takes the rest from the frames.
func (k mp3Kind) wavHeader() []byte {
	const mpeg, mpegLayerIII = 0x50, 0x55
	tag := mpeg
	if k.layer == layerIII {
		tag = mpegLayerIII
	}
	b := []byte("RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00")
	b = binary.LittleEndian.AppendUint16(b, uint16(tag))
	b = binary.LittleEndian.AppendUint16(b, uint16(k.channels()))
	b = binary.LittleEndian.AppendUint32(b, uint32(k.rate))
	b = append(b, 0, 0x40, 0, 0, 1, 0, 0, 0) // bytes a second, of a block, bits
	return append(b, "data\xff\xff\xff\xff"...)
}

func (r *mp3Run) Read(p []byte) (int, error) {
	for len(r.frame) == 0 {
		if r.err != nil {
			return 0, r.ended()
		}
		r.load()
	}
	n := copy(p, r.frame)
	r.frame = r.frame[n:]
	return n, nil
}

func (r *mp3Run) load() {
	h := r.next()
	if r.frames.after = r.err; r.err == nil {
		r.samples += int64(h.samples)
		if r.frames.seconds > r.limits.Duration.Seconds() {
			r.err = tooLong(r.limits) // the rest need not be copied
		}
	}
}

func (r *mp3Run) next() (h mp3Header) {
	if r.feed != nil {
		h, r.err = r.feed.load()
		r.frame, r.feed.frame = r.feed.frame, nil
		return h
	}
	h, r.frame, r.err = r.frames.next()
	switch {
	case r.packer == nil:
	case r.err != nil:
		r.frame = r.packer.waiting
	default:
		r.frame = r.packer.pack(h, r.frame)
		if r.packer.fault != nil {
			r.frames.silenced(r.packer.fault)
		}
	}
	return h
}

func (r *mp3Run) ended() error {
	if errors.Is(r.err, errNextRun) || atEnd(r.err) {
		return io.EOF
	}
	return r.err
}

func bufioOf(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, maxMP3Frame) }

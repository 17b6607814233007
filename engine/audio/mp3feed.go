package audio

import (
	"bufio"
	"errors"
	"io"
)

// Reasons for which a frame is silenced.
var (
	errSideInfo  = errors.New("its side information contradicts itself")
	errFreeLarge = errors.New("it holds more than frames with a bit rate can")
)

// mp3Feed gives the library one frame at a time. Main data may begin in the frames before (ISO 11172-3, section 2.4.3.4): where those are not
// there, after damage, the frame is made silent, since the library would decode noise.
type mp3Feed struct {
	frames    *mp3Frames
	frame     []byte // not yet read
	own       []byte // a changed frame
	reservoir []byte // the main data before the frame, at most maxReservoir bytes
	fault     error  // of the frame that is loaded
}

// load takes the next frame.
func (f *mp3Feed) load() error {
	h, frame, err := f.frames.next()
	if err != nil {
		return err
	}
	f.fault = nil
	if f.frames.afterGap {
		f.reservoir, f.frames.afterGap = f.reservoir[:0], false
	}
	side, main := h.split(frame)
	begin, bits, sound := parseSideInfo(side, h)
	switch {
	case !sound || begin <= len(f.reservoir) && bits > 8*(begin+len(main)):
		frame, f.fault = f.silence(h, frame), errSideInfo
	case begin > len(f.reservoir):
		frame = f.silence(h, frame)
	}
	f.frame = frame
	f.reservoir = append(f.reservoir, main...)
	f.reservoir = f.reservoir[max(0, len(f.reservoir)-maxReservoir):]
	return nil
}

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
	f.own = append(f.own[:0], frame...)
	side, _ := h.split(f.own)
	if len(side) == 0 {
		return f.own
	}
	clear(side)
	setBegin(side, len(f.reservoir), h)
	return f.own
}

// mp3Run reads the bytes of all frames of a run, for ffmpeg.
type mp3Run struct {
	frames *mp3Frames
	packer *freePacker // where the bit rate is free
	frame  []byte
	err    error
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
	var h mp3Header
	h, r.frame, r.err = r.frames.next()
	r.frames.after = r.err
	switch {
	case r.packer == nil:
	case r.err != nil:
		r.frame = r.packer.waiting
	default:
		r.frame = r.packer.pack(h, r.frame)
		if r.packer.fault != nil {
			r.frames.f.add(DamagedFrames, r.frames.seconds, "the mp3 frame before %.1f s is silenced: %v", r.frames.seconds, r.packer.fault)
		}
	}
}

func (r *mp3Run) ended() error {
	if errors.Is(r.err, errNextRun) || atEnd(r.err) {
		return io.EOF
	}
	return r.err
}

func bufioOf(r io.Reader) *bufio.Reader { return bufio.NewReaderSize(r, maxMP3Frame) }

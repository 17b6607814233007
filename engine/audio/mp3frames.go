package audio

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Bounds on the search for frames.
const (
	// maxMP3Frame is more than the bytes of the largest frame and the header after it.
	maxMP3Frame = 4096
	// mp3Overlap is how much of the bytes in hand is looked at again with those that follow: more than four frames.
	mp3Overlap = 8 << 10
	// sureFrames is how many frames must follow each other where a new kind of frame begins.
	sureFrames = 3
)

// errNextRun says that frames of another kind follow.
var errNextRun = errors.New("another kind of frame follows")

// mp3Frames walks over the frames of MPEG audio by their headers. It goes on behind damage, as players do, and notes it.
type mp3Frames struct {
	r     *bufio.Reader
	f     *Faults
	kind  mp3Kind // of the run of frames in hand
	size  int     // of a frame without padding, where the bit rate is free
	taken int     // bytes of the frame handed out, still to be passed over

	runs          int
	frames, told  int64   // walked over; as the first frame tells, 0 if it does not
	seconds, lost float64 // of the frames so far, and of what lies between them
	last          mp3Header
	after         error // what followed a run that was read as bytes
	afterGap      bool  // the frame in hand follows damage or begins a run
}

// begin starts at the first frame, which is at the reader.
func (m *mp3Frames) begin() error {
	head, err := peek(m.r, peekBytes)
	if err != nil {
		return err
	}
	h, size, ok := mp3At(head, 0, 1)
	if !ok {
		return undecodable("reading mp3: no frame found")
	}
	m.told = xingFrames(head, h)
	m.start(h, size)
	return nil
}

// start begins a run of frames of one kind.
func (m *mp3Frames) start(h mp3Header, size int) {
	m.kind, m.size, m.afterGap = h.mp3Kind, size, true
	m.runs++
}

// next returns the bytes of the next frame, valid until the next call; errNextRun where a frame of another kind follows,
// which is then the run in hand; io.EOF at the end, and io.ErrUnexpectedEOF within a frame.
func (m *mp3Frames) next() (mp3Header, []byte, error) {
	if _, err := m.r.Discard(m.taken); err != nil {
		return mp3Header{}, nil, fmt.Errorf("reading mp3: %w", err)
	}
	m.taken = 0
	for {
		head, err := peek(m.r, maxMP3Frame)
		if err != nil {
			return mp3Header{}, nil, err
		}
		h, ok := parseMP3Header(head)
		if !ok || h.mp3Kind != m.kind {
			if err := m.search(); err != nil {
				return h, nil, err
			}
			continue
		}
		size := m.sizeOf(h)
		if len(head) < size {
			return h, nil, m.end(0, true)
		}
		m.taken, m.last = size, h
		m.frames++
		m.seconds += float64(h.samples) / float64(h.rate)
		return h, head[:size], nil
	}
}

// begun is where the frame in hand begins, in seconds.
func (m *mp3Frames) begun() float64 { return m.seconds - float64(m.last.samples)/float64(m.last.rate) }

// silenced notes that the frame in hand is made silent.
func (m *mp3Frames) silenced(why error) {
	at := m.begun()
	m.f.add(DamagedFrames, at, "the mp3 frame at %.1f s is damaged and silenced: %v", at, why)
}

func (m *mp3Frames) sizeOf(h mp3Header) int {
	if h.free {
		return m.size + h.padding
	}
	return h.size
}

// search looks for the next place where frames follow each other and leaves the reader there. It returns errNextRun if they are of another
// kind, and what end returns if there is none.
func (m *mp3Frames) search() error {
	skipped := 0
	first, err := peek(m.r, 16)
	if err != nil {
		return err
	}
	tag := isTag(first)
	if len(first) >= 10 && hasMagic(first, 0, "ID3") {
		if _, err := m.r.Discard(tagSize(first)); err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading mp3: %w", err)
		}
	}
	for {
		head, err := peek(m.r, peekBytes)
		if err != nil {
			return err
		}
		at, h, size, ok := m.find(head)
		if !ok && len(head) < peekBytes {
			if tag {
				skipped = 0
			} else if len(bytes.Trim(head, "\x00")) > 0 {
				skipped += len(head)
			}
			return m.end(skipped, false)
		}
		if !ok {
			at = len(head) - mp3Overlap
		}
		skipped += at
		if _, err := m.r.Discard(at); err != nil {
			return fmt.Errorf("reading mp3: %w", err)
		}
		if ok {
			return m.resume(h, size, skipped, tag)
		}
	}
}

// find returns the next frame of the kind in hand, or the first of three of another.
func (m *mp3Frames) find(head []byte) (at int, h mp3Header, size int, ok bool) {
	for i := 0; i+4 <= len(head); i++ {
		h, ok := parseMP3Header(head[i:])
		if !ok || h.free && h.mp3Kind != m.kind {
			continue // of frames of free bit rate there are too few signs to believe in them in the middle of others
		}
		need := sureFrames
		if h.mp3Kind == m.kind {
			need = 2
		}
		if h, size, ok := mp3At(head, i, need); ok {
			return i, h, size, true
		}
	}
	return 0, h, 0, false
}

// resume goes on at a frame behind bytes that are none.
func (m *mp3Frames) resume(h mp3Header, size, skipped int, tag bool) error {
	if skipped > 0 && !tag {
		m.damaged(skipped)
	}
	if h.mp3Kind != m.kind {
		m.start(h, size)
		return errNextRun
	}
	m.afterGap = true
	return nil
}

func (m *mp3Frames) damaged(skipped int) {
	m.f.add(DamagedFrames, m.seconds, "%d bytes after %.1f s are no frames of mp3 and were left out", skipped, m.seconds)
	if size := m.sizeOf(m.last); m.frames > 0 && size > 0 {
		m.lost += float64(skipped) / float64(size) * float64(m.last.samples) / float64(m.last.rate)
	}
}

// end compares what was walked over with what the first frame tells. skipped bytes at the end are no frames; a cut frame says that the file
// breaks off.
func (m *mp3Frames) end(skipped int, cut bool) error {
	// The frame that tells is one more than it tells of, unless its encoder counted it.
	const slack = 0
	missing := m.told - m.frames
	perFrame := float64(m.last.samples) / float64(max(1, m.last.rate))
	switch {
	case m.runs > 1 || m.told == 0:
		m.f.MissingS += m.lost
	case missing >= slack && (cut || m.f.has(DamagedFrames)):
		m.f.MissingS += float64(missing+1) * perFrame
	}
	switch {
	case m.frames == 0:
	case skipped > 2*m.sizeOf(m.last) && !(m.told > 0 && missing <= slack):
		m.f.add(DamagedFrames, m.seconds, "the last %d bytes, after %.1f s, are no frames of mp3", skipped, m.seconds)
	case m.runs == 1 && m.told > 0 && missing > slack && !cut && !m.f.has(DamagedFrames):
		m.f.whole(LengthDisagrees, "the first frame tells of %.1f s, %.1f s are there: the file was cut, or its header is stale",
			float64(m.told)*perFrame, m.seconds)
	case m.runs == 1 && m.told > 0 && -missing > slack+2:
		m.f.whole(StaleHeader, "the first frame tells of %.1f s, %.1f s are there and were read", float64(m.told)*perFrame, m.seconds)
	}
	if cut && (m.told == 0 || missing >= slack) {
		return io.ErrUnexpectedEOF
	}
	return io.EOF
}

// findMP3 returns where the first frame begins that is followed by another, or by the end of the data.
func findMP3(head []byte, need int) (int, bool) {
	for i := 0; i+4 <= len(head); i++ {
		if _, _, ok := mp3At(head, i, need); ok {
			return i, true
		}
	}
	return 0, false
}

// mp3At tells whether a number of frames of one kind follow each other at a place, and the size of a frame of free bit rate. A header alone
// proves nothing, since its pattern is common. The end of the data stands for any number of frames.
func mp3At(head []byte, at, need int) (first mp3Header, size int, ok bool) {
	first, ok = parseMP3Header(head[at:])
	if !ok {
		return first, 0, false
	}
	if first.free {
		if first.layer != layerIII {
			return first, 0, false
		}
		if size, ok = freeSize(head, at, first); !ok {
			return first, 0, false
		}
	}
	for n := 1; n < need; n++ {
		h, ok := parseMP3Header(head[at:])
		if !ok || h.mp3Kind != first.mp3Kind {
			return first, 0, false
		}
		step := h.size
		if h.free {
			step = size + h.padding
		}
		at += step
		if at == len(head) {
			return first, size, true
		}
		if at+4 > len(head) {
			return first, 0, false
		}
	}
	h, ok := parseMP3Header(head[at:])
	return first, size, ok && h.mp3Kind == first.mp3Kind
}

// freeSize measures a frame of free bit rate: the distance to the next header of its kind, if another follows at the same distance.
func freeSize(head []byte, at int, h mp3Header) (int, bool) {
	const least = 96 // 32 kbit/s at 44.1 kHz
	for j := at + least; j+4 <= len(head) && j < at+maxMP3Frame; j++ {
		second, ok := parseMP3Header(head[j:])
		if !ok || second.mp3Kind != h.mp3Kind {
			continue
		}
		size := j - at - h.padding
		if third := j + size + second.padding; third+4 <= len(head) {
			if h3, ok := parseMP3Header(head[third:]); ok && h3.mp3Kind == h.mp3Kind {
				return size, true
			}
		}
	}
	return 0, false
}

// isTag tells a tag that may stand between and behind the frames.
func isTag(head []byte) bool {
	for _, magic := range []string{"TAG", "ID3", "APETAGEX", "LYRICSBEGIN"} {
		if hasMagic(head, 0, magic) {
			return true
		}
	}
	return false
}

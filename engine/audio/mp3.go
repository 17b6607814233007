package audio

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	mp3 "github.com/hajimehoshi/go-mp3"
)

// maxMP3Runs bounds how often the kind of frame may change inside a file: some kinds cost a process each.
const maxMP3Runs = 16

func openMP3(ctx context.Context, in *file) (*source, error) {
	m := &mp3Reader{ctx: ctx, file: in, src: &source{}}
	m.frames = &mp3Frames{r: in.Reader, f: in.faults}
	if err := m.frames.begin(); err != nil {
		return nil, err
	}
	m.src.next, m.src.skip, m.src.close = m.next, m.skip, m.close
	if err := m.openRun(); err != nil {
		m.close()
		return nil, err
	}
	return m.src, nil
}

// mp3Reader decodes a file of MPEG audio run by run: frames of one kind, that is of one version, layer and sample rate. Layer III of MPEG 1
// is decoded in Go, to stereo; other runs by ffmpeg.
type mp3Reader struct {
	*file
	ctx    context.Context //nolint:containedctx // a later run may start a process
	src    *source
	frames *mp3Frames
	feed   *mp3Feed // of a run in Go
	d      *mp3.Decoder
	raw    [4 * 1152]byte
	out    [2 * 1152]float32
	byApp  *source // of a run by ffmpeg
}

func (m *mp3Reader) openRun() error {
	m.d, m.feed, m.byApp = nil, nil, nil
	kind := m.frames.kind
	if m.frames.runs > maxMP3Runs {
		return undecodable("the mp3 changes its kind of frame more than %d times", maxMP3Runs)
	}
	if kind.inGo() {
		m.src.rate, m.src.channels = kind.rate, 2
		m.feed = &mp3Feed{frames: m.frames}
		return nil
	}
	run := &mp3Run{frames: m.frames}
	if kind.free {
		run.packer = &freePacker{}
	}
	s, err := m.ffmpeg.open(m.ctx, &file{Reader: bufioOf(run), faults: m.faults}, mpegByApp)
	if err != nil {
		return err
	}
	m.byApp = s
	m.src.rate, m.src.channels = s.rate, s.channels
	return nil
}

func (m *mp3Reader) close() {
	if m.byApp != nil {
		m.byApp.close()
		m.byApp = nil
	}
}

// ended opens the next run where one follows. After a run that ffmpeg decodes, the reader already stands there.
func (m *mp3Reader) ended(err error) error {
	m.close()
	if errors.Is(err, errNextRun) {
		return m.openRun()
	}
	return err
}

func (m *mp3Reader) next() ([]float32, error) {
	for {
		block, err := m.decode()
		if err == nil {
			return block, nil
		}
		if err := m.ended(err); err != nil {
			return nil, err
		}
	}
}

func (m *mp3Reader) decode() ([]float32, error) {
	if m.byApp == nil {
		return m.frame()
	}
	block, err := m.byApp.next()
	if errors.Is(err, io.EOF) {
		return nil, m.frames.after
	}
	return block, err
}

// skip passes over one frame by its header.
func (m *mp3Reader) skip() (int64, error) {
	for {
		if m.byApp != nil {
			block, err := m.next()
			return int64(len(block) / m.src.channels), err
		}
		h, _, err := m.frames.next()
		if err == nil {
			return int64(h.samples), nil
		}
		if err := m.ended(err); err != nil {
			return 0, err
		}
	}
}

// frame decodes one frame. A frame that cannot be decoded is silent.
func (m *mp3Reader) frame() ([]float32, error) {
	if err := m.feed.load(); err != nil {
		return nil, err
	}
	at := m.frames.seconds - float64(m.frames.last.samples)/float64(m.frames.last.rate)
	fault := m.feed.fault
	if err := m.read(); err != nil {
		m.d, fault = nil, err
		m.feed.drop()
		clear(m.raw[:])
	}
	if fault != nil {
		m.faults.add(DamagedFrames, at, "the mp3 frame at %.1f s is damaged and silenced: %v", at, fault)
	}
	for i := range m.out {
		m.out[i] = float32(int16(binary.LittleEndian.Uint16(m.raw[2*i:]))) / (1 << 15)
	}
	return m.out[:], nil
}

// read decodes the frame that is loaded. It contains a panic of the library.
func (m *mp3Reader) read() (err error) {
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

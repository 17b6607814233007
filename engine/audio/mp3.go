package audio

import (
	"context"
	"errors"
	"io"
)

// maxMP3Runs bounds how often the kind of frame may change inside a file: each costs a process.
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

// mp3Reader decodes a file of MPEG audio run by run: frames of one kind, that is of one version, layer, sample rate and number of channels. ffmpeg decodes
// them; where it is not installed, layer III of MPEG 1 is decoded in Go.
type mp3Reader struct {
	*file
	ctx    context.Context //nolint:containedctx // a later run may start a process
	src    *source
	frames *mp3Frames
	byApp  *source // of a run by ffmpeg
	left   int64   // samples of one channel of that run, still to come
	inGo   *mp3InGo
}

func (m *mp3Reader) openRun() error {
	m.inGo, m.byApp = nil, nil
	kind := m.frames.kind
	if m.frames.runs > maxMP3Runs {
		return undecodable("the mp3 changes its kind of frame more than %d times", maxMP3Runs)
	}
	if m.ffmpeg.path == "" && kind.inGo() {
		m.src.rate, m.src.channels = kind.rate, kind.channels()
		m.inGo = &mp3InGo{feed: &mp3Feed{frames: m.frames}, faults: m.faults}
		return nil
	}
	run := newMP3Run(m.frames, m.ffmpeg.limits)
	s, err := m.ffmpeg.open(m.ctx, &file{Reader: bufioOf(run), faults: m.faults}, mpegByApp(kind))
	if err != nil {
		return err
	}
	m.byApp, m.left = s, run.samples // the run has been read to its end
	m.src.rate, m.src.channels = s.rate, s.channels
	return nil
}

// mpegByApp is how ffmpeg reads a run. The frames go to it as a wav stream: the reader of bare frames passes over the first ones if their headers differ
// a little, and refuses files of two frames. It decodes in whole numbers: the same samples come out on every processor, and so the same names of windows.
// The decoders of floating point, which ffmpeg takes by itself, differ in the last bit with the instructions that a processor has.
func mpegByApp(kind mp3Kind) format {
	decoders := [...]string{layerIII: "mp3", 2: "mp2", 3: "mp1"}
	return format{name: "mp3", demuxer: "wav", decoder: decoders[kind.layer], stream: true, lastCut: true}
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
		return m.inGo.frame()
	}
	block, err := m.byApp.next()
	m.left -= int64(len(block) / m.src.channels)
	if errors.Is(err, io.EOF) {
		m.leftOut()
		return nil, m.frames.after
	}
	return block, err
}

// leftOut notes what ffmpeg left out of a run. Of a frame whose main data contradicts itself nothing comes out.
func (m *mp3Reader) leftOut() {
	if m.left <= 0 {
		return
	}
	missing := float64(m.left) / float64(m.src.rate)
	m.faults.MissingS += missing
	m.faults.whole(DamagedFrames, "%.2f s of the mp3 could not be decoded and were left out", missing)
}

// skip passes over one frame by its header, or over all that follows of a run by ffmpeg, whose frames have been walked over.
func (m *mp3Reader) skip() (int64, error) {
	for {
		if m.left > 0 && m.byApp != nil {
			n := m.left
			m.left = 0
			return n, nil
		}
		err := m.frames.after
		if m.byApp == nil {
			var h mp3Header
			if h, _, err = m.frames.next(); err == nil {
				return int64(h.samples), nil
			}
		}
		if err := m.ended(err); err != nil {
			return 0, err
		}
	}
}

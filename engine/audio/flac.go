package audio

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/mewkiz/flac"
	"github.com/mewkiz/flac/frame"
)

// openFLAC reads the stream information; other metadata is skipped without being kept.
func openFLAC(r *bufio.Reader) (*source, error) {
	// The library buffers by itself unless its reader is a bufio.Reader already, and then uses that: so r
	// stands at the next frame between frames, and its header can be looked at first.
	stream, err := flac.New(r)
	if err != nil {
		return nil, undecodable("reading flac header: %w", err)
	}
	info := stream.Info
	s := &source{rate: int(info.SampleRate), channels: int(info.NChannels), declared: int64(info.NSamples)}
	if err := s.check(); err != nil {
		return nil, err
	}
	if err := checkFrame(r); err != nil && !atEnd(err) {
		return nil, err
	}
	d := &flacReader{r: r, channels: s.channels}
	s.next = d.next
	return s, nil
}

type flacReader struct {
	r        *bufio.Reader
	channels int
	out      []float32
}

func (d *flacReader) next() ([]float32, error) {
	if err := checkFrame(d.r); err != nil {
		return nil, err
	}
	f, err := frame.Parse(d.r)
	if err != nil {
		if atEnd(err) {
			return nil, io.ErrUnexpectedEOF
		}
		return nil, undecodable("reading flac frame: %w", err)
	}
	if len(f.Subframes) != d.channels {
		return nil, undecodable("flac changes from %d to %d channels", d.channels, len(f.Subframes))
	}
	return d.interleave(f), nil
}

func (d *flacReader) interleave(f *frame.Frame) []float32 {
	n := len(f.Subframes[0].Samples)
	if cap(d.out) < n*d.channels {
		d.out = make([]float32, n*d.channels)
	}
	out := d.out[:n*d.channels]
	scale := 1 / float32(int64(1)<<(f.BitsPerSample-1))
	for c, sub := range f.Subframes {
		for i, v := range sub.Samples {
			out[i*d.channels+c] = float32(v) * scale
		}
	}
	return out
}

// checkFrame looks at the header of the next frame (RFC 9639, section 9.1) for what the library does not
// read: sample sizes that only the stream information tells, and two sample rates at which it
// writes a line to the standard logger for each frame. Data that is no frame, such as a tag after the
// audio, ends the stream: whether too early, the declared length tells.
func checkFrame(r *bufio.Reader) error {
	head, err := r.Peek(4)
	if errors.Is(err, io.EOF) {
		return io.EOF
	}
	if err != nil {
		return fmt.Errorf("reading flac frame: %w", err)
	}
	if head[0] != 0xff || head[1]&0xfc != 0xf8 {
		return io.EOF
	}
	rate, size := head[2]&0x0f, head[3]>>1&7
	if size == 0 || size == 7 || rate == 2 || rate == 7 {
		return fmt.Errorf("flac frame with rate code %d and size code %d: %w", rate, size, errUnsupported)
	}
	return nil
}

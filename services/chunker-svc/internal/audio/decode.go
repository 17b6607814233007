package audio

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os/exec"
	"time"

	"github.com/larkstream/larkstream/shared/event"
)

// Config of a Decoder.
type Config struct {
	Limits Limits
	// FFmpeg is the program's path; empty looks it up in PATH, "none" does without.
	FFmpeg string
	// Scratch is the folder for temporary files; empty is the system's.
	Scratch string
}

// Decoder reads audio files. It is safe for concurrent use.
type Decoder struct {
	limits Limits
	ffmpeg ffmpeg
}

// NewDecoder checks the limits and looks for ffmpeg, whose absence is no error.
func NewDecoder(cfg Config) (*Decoder, error) {
	l := cfg.Limits
	if l.FileBytes <= 0 || l.Duration <= 0 || l.DecodedBytes <= 0 || l.Timeout <= 0 {
		return nil, fmt.Errorf("making audio decoder: limits %+v must all be positive", l)
	}
	f := ffmpeg{scratch: cfg.Scratch, limits: l}
	switch cfg.FFmpeg {
	case "none":
	case "":
		f.path, _ = exec.LookPath("ffmpeg") // not installed: files that need it say so
	default:
		path, err := exec.LookPath(cfg.FFmpeg)
		if err != nil {
			return nil, fmt.Errorf("looking for ffmpeg: %w", err)
		}
		f.path = path
	}
	return &Decoder{limits: l, ffmpeg: f}, nil
}

// FFmpeg returns the path of the ffmpeg in use, "" if there is none.
func (d *Decoder) FFmpeg() string { return d.ffmpeg.path }

// Info tells what a file was.
type Info struct {
	// Format by content: wav, flac, mp3, ogg, mp4, ...
	Format string
	// Rate in Hz and channels of the file itself.
	Rate, Channels int
	// Samples of 44.1 kHz mono PCM that the whole track has.
	Samples int64
}

// Seconds is the length of the track.
func (i Info) Seconds() float64 { return float64(i.Samples) / SampleRate }

// errTimeout is the cause of a context that ended because decoding took too long.
var errTimeout = errors.New("decoding took too long")

// Decode reads a whole file from open and hands the first keep samples of its PCM, or a few more, to sink, block by block; what comes
// after them is decoded all the same, for the length and for damage, but not resampled. Samples are the mean of the channels,
// resampled, rounded half to even and clipped. open is called again if a second decoder has to start
// over. A fault of the file is an *Error; other errors come from open's reader, from sink or from ctx.
//
// A file that breaks off or is damaged is refused unless what is missing of its declared length is under 1 % and under 1 s:
// an answer must not rest on a part of the track that nobody asked for.
func (d *Decoder) Decode(ctx context.Context, open func() (io.ReadCloser, error), keep int64, sink func([]int16) error) (Info, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.limits.Timeout, errTimeout)
	defer cancel()
	info, err := d.attempt(ctx, open, output{keep, sink}, false)
	if errors.Is(err, errUnsupported) && info.Samples == 0 {
		info, err = d.attempt(ctx, open, output{keep, sink}, true)
	}
	if err != nil {
		return info, d.explain(ctx, err)
	}
	return info, nil
}

// explain puts the end of ctx before what it made a decoder say.
func (d *Decoder) explain(ctx context.Context, err error) error {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errTimeout):
		return &Error{Code: event.CodeAudioTimeout, Err: fmt.Errorf("decoding took longer than %s", d.limits.Timeout)}
	case cause != nil:
		return fmt.Errorf("decoding audio: %w", cause)
	case errors.Is(err, errUnsupported):
		return undecodable("%w", err)
	}
	return err
}

func (d *Decoder) attempt(ctx context.Context, open func() (io.ReadCloser, error), out output, useFFmpeg bool) (Info, error) {
	file, err := open()
	if err != nil {
		return Info{}, fmt.Errorf("opening audio: %w", err)
	}
	defer func() { _ = file.Close() }()
	in := &input{ctx: ctx, r: file, left: d.limits.FileBytes}
	info, err := d.decode(ctx, bufio.NewReaderSize(in, peekBytes), out, useFFmpeg)
	if in.err != nil {
		err = in.err // the store's fault or the size, whatever the decoder made of it
	}
	return info, err
}

func (d *Decoder) decode(ctx context.Context, r *bufio.Reader, out output, useFFmpeg bool) (Info, error) {
	ft, err := sniff(r)
	info := Info{Format: ft.name}
	if err != nil {
		return info, err
	}
	var src *source
	if ft.open == nil || useFFmpeg {
		src, err = d.ffmpeg.open(ctx, r, ft)
	} else {
		src, err = openContained(ft, r)
	}
	if err != nil {
		return info, err
	}
	if src.close != nil {
		defer src.close()
	}
	info.Rate, info.Channels = src.rate, src.channels
	p := &pump{limits: d.limits, src: src, out: out, resample: newResampler(src.rate, SampleRate)}
	err = p.run(ctx)
	info.Samples = p.total()
	return info, err
}

func openContained(ft format, r *bufio.Reader) (s *source, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, undecodable("reading %s header: %v", ft.name, p)
		}
	}()
	return ft.open(r)
}

// output is where samples go, and how many are wanted.
type output struct {
	keep int64
	sink func([]int16) error
}

// pump moves blocks from a source to the sink and keeps the limits.
type pump struct {
	limits   Limits
	src      *source
	out      output
	resample *resampler
	mono     []float32
	pcm      []int16
	frames   int64 // taken from the source
	written  int64 // samples put out
}

func (p *pump) run(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		block, err := p.src.contained()
		if err != nil {
			if err = p.ended(err); err != nil {
				return err
			}
			break
		}
		if err := p.push(block); err != nil {
			return err
		}
	}
	if p.resample != nil && p.written < p.out.keep {
		if err := p.emit(p.resample.flush()); err != nil {
			return err
		}
	}
	return p.longEnough()
}

// ended decides whether a source that stopped had come to its end.
func (p *pump) ended(err error) error {
	missing := p.src.declared - p.frames
	switch {
	case p.src.nearEnd(p.frames), errors.Is(err, io.EOF) && missing <= 0:
		return nil
	case atEnd(err) && missing > 0:
		return undecodable("the file is truncated: its header tells of %.1f s, %.1f s are there",
			p.seconds(p.src.declared), p.seconds(p.frames))
	case atEnd(err):
		return undecodable("the file is truncated after %.1f s", p.seconds(p.frames))
	case errors.Is(err, errUnsupported) && p.frames > 0:
		return undecodable("after %.1f s: %w", p.seconds(p.frames), err)
	case CodeOf(err) != "":
		return &Error{Code: CodeOf(err), Err: fmt.Errorf("after %.1f s: %w", p.seconds(p.frames), err)}
	}
	return err
}

// total is the number of samples that the whole track has at 44.1 kHz.
func (p *pump) total() int64 {
	if p.resample == nil {
		return p.frames
	}
	return p.resample.outputs(p.frames)
}

func (p *pump) seconds(frames int64) float64 { return float64(frames) / float64(p.src.rate) }

func (p *pump) push(block []float32) error {
	n := len(block) / p.src.channels
	p.frames += int64(n)
	if time.Duration(p.seconds(p.frames)*float64(time.Second)) > p.limits.Duration {
		return &Error{Code: event.CodeAudioTooLong, Err: fmt.Errorf("the track is longer than %s", p.limits.Duration)}
	}
	if p.frames*int64(p.src.channels)*4 > p.limits.DecodedBytes {
		return &Error{Code: event.CodeAudioTooLarge, Err: fmt.Errorf("the track decodes to more than %d bytes", p.limits.DecodedBytes)}
	}
	if p.written >= p.out.keep {
		return nil
	}
	mono := p.downmix(block, n)
	if p.resample != nil {
		mono = p.resample.process(mono)
	}
	return p.emit(mono)
}

// downmix is the mean of the channels. Values that are no sound (not finite, or far beyond full scale) are silenced or
// bounded, so that they cannot spoil their neighbours in the resampler.
func (p *pump) downmix(block []float32, n int) []float32 {
	if cap(p.mono) < n {
		p.mono = make([]float32, n)
	}
	mono, channels := p.mono[:n], p.src.channels
	for i := range mono {
		sum := float32(0)
		for _, v := range block[i*channels : (i+1)*channels] {
			sum += v
		}
		mono[i] = bounded(sum / float32(channels))
	}
	return mono
}

func bounded(v float32) float32 {
	switch {
	case v != v:
		return 0
	case v > 2:
		return 2
	case v < -2:
		return -2
	}
	return v
}

func (p *pump) emit(mono []float32) error {
	if len(mono) == 0 {
		return nil
	}
	if cap(p.pcm) < len(mono) {
		p.pcm = make([]int16, len(mono))
	}
	pcm := p.pcm[:len(mono)]
	for i, v := range mono {
		pcm[i] = toInt16(v)
	}
	p.written += int64(len(pcm))
	return p.out.sink(pcm)
}

func toInt16(v float32) int16 {
	return int16(max(math.MinInt16, min(math.MaxInt16, math.RoundToEven(float64(v)*(1<<15)))))
}

func (p *pump) longEnough() error {
	switch {
	case p.frames == 0:
		return &Error{Code: event.CodeAudioEmpty, Err: errors.New("the file holds no samples")}
	case p.seconds(p.frames) < MinSeconds:
		return &Error{Code: event.CodeAudioTooShort, Err: fmt.Errorf("the track lasts %.3f s, the shortest accepted is %g s", p.seconds(p.frames), MinSeconds)}
	}
	return nil
}

// input is the file under its limits. It remembers its own failure, which decoders tend to hide.
type input struct {
	ctx  context.Context //nolint:containedctx // an io.Reader has no other way to stop
	r    io.Reader
	left int64
	err  error
}

func (in *input) Read(b []byte) (int, error) {
	if in.err != nil {
		return 0, in.err
	}
	if in.err = in.ctx.Err(); in.err != nil {
		return 0, in.err
	}
	n, err := in.r.Read(b)
	in.left -= int64(n)
	switch {
	case in.left < 0:
		in.err = &Error{Code: event.CodeAudioTooLarge, Err: errors.New("the file is larger than the limit")}
		return 0, in.err
	case err != nil && !errors.Is(err, io.EOF):
		in.err = fmt.Errorf("reading audio: %w", err)
		return n, in.err
	}
	return n, err
}

package audio

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"

	"github.com/larkstream/larkstream/engine/audio/internal/confine"
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
	rate   int // of the PCM that comes out, Hz
}

// NewDecoder checks the limits and looks for ffmpeg, whose absence is no error.
func NewDecoder(ctx context.Context, cfg Config) (*Decoder, error) {
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
	if f.path != "" {
		f.confine = confine.For(ctx, f.path)
	}
	return &Decoder{limits: l, ffmpeg: f, rate: SampleRate}, nil
}

// At is the decoder with another sample rate of the PCM that comes out, in Hz. Files of that rate are not resampled.
func (d *Decoder) At(rate int) *Decoder {
	other := *d
	other.rate = rate
	return &other
}

// Rate is the sample rate of the PCM that comes out, in Hz.
func (d *Decoder) Rate() int { return d.rate }

// FFmpeg returns the path of the ffmpeg in use, "" if there is none.
func (d *Decoder) FFmpeg() string { return d.ffmpeg.path }

// Confinement says in words what ffmpeg is kept from, "" if there is none.
func (d *Decoder) Confinement() string {
	if d.ffmpeg.path == "" {
		return ""
	}
	return confinementOf(d.ffmpeg.confine)
}

// Confinement says in words what the program at path would be kept from on this system.
func Confinement(ctx context.Context, path string) string {
	return confinementOf(confine.For(ctx, path))
}

func confinementOf(c confine.Confinement) string {
	return "limits on memory, CPU, time and files; no environment; allowed formats and codecs only; " + c.String()
}

// Info tells what a file was.
type Info struct {
	// Format by content: wav, flac, mp3, ogg, mp4, ...
	Format string
	// Rate in Hz and channels of the file itself.
	Rate, Channels int
	// Samples of mono PCM that the whole track has, at PCMRate Hz.
	Samples int64
	PCMRate int
	// Faults of the file.
	Faults
}

// Seconds is the length of the track.
func (i Info) Seconds() float64 { return float64(i.Samples) / float64(max(i.PCMRate, 1)) }

// Within are the faults of damage that lie between two samples of the PCM, or that may lie anywhere.
func (i Info) Within(start, end int64) []Warning {
	rate := int64(max(i.PCMRate, 1))
	return i.Faults.Within(start*SampleRate/rate, (end*SampleRate+rate-1)/rate)
}

// errTimeout is the cause of a context that ended because decoding took too long.
var errTimeout = errors.New("decoding took too long")

// Decode reads a whole file from open and hands the first keep samples of its PCM, or a few more, to sink, block by block; what comes
// after them is decoded all the same, for the length and for damage, but not resampled. Samples are the mean of the channels,
// resampled, rounded half to even and clipped. open is called again if a second decoder has to start
// over. A fault of the file is an *Error; other errors come from open's reader, from sink or from ctx.
//
// A file that breaks off or is damaged is decoded as far as it goes, and its faults are in Info: docs/adr/0014-damage-is-flagged.md.
func (d *Decoder) Decode(ctx context.Context, open func() (io.ReadCloser, error), keep int64, sink func([]int16) error) (Info, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.limits.Timeout, errTimeout)
	defer cancel()
	return d.tries(ctx, open, output{keep: keep, sink: sink})
}

// tries decodes with the decoder of the format, and if that does not read the variant with ffmpeg.
func (d *Decoder) tries(ctx context.Context, open func() (io.ReadCloser, error), out output) (Info, error) {
	info, err := d.attempt(ctx, open, out, try{})
	var tag *soundInTagError
	if errors.As(err, &tag) {
		info, err = d.attempt(ctx, open, out, try{tag: tag})
	}
	if errors.Is(err, errUnsupported) && info.Samples == 0 {
		info, err = d.attempt(ctx, open, out, try{tag: tag, ffmpeg: true})
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
		return &Error{Code: Timeout, Err: fmt.Errorf("decoding took longer than %s", d.limits.Timeout)}
	case cause != nil:
		return fmt.Errorf("decoding audio: %w", cause)
	case errors.Is(err, errUnsupported):
		return undecodable("%w", err)
	}
	return err
}

// try is how one attempt differs from the first.
type try struct {
	ffmpeg bool             // rather than the decoder in Go
	tag    *soundInTagError // the sound begins within this tag
}

func (d *Decoder) attempt(ctx context.Context, open func() (io.ReadCloser, error), out output, how try) (Info, error) {
	file, err := open()
	if err != nil {
		return Info{}, fmt.Errorf("opening audio: %w", err)
	}
	defer func() { _ = file.Close() }()
	in := &input{ctx: ctx, r: file, left: d.limits.FileBytes}
	info, err := d.decode(ctx, bufio.NewReaderSize(in, peekBytes), out, how)
	if in.err != nil {
		err = in.err // the store's fault or the size, whatever the decoder made of it
	}
	return info, err
}

func (d *Decoder) decode(ctx context.Context, r *bufio.Reader, out output, how try) (Info, error) {
	in := &file{Reader: r, faults: &Faults{}, ffmpeg: d.ffmpeg}
	if how.tag != nil {
		if _, err := io.CopyN(io.Discard, r, how.tag.at); err != nil {
			return Info{}, fmt.Errorf("passing over a tag: %w", err)
		}
		in.faults.whole(StaleHeader, "%v", how.tag)
	}
	ft, err := sniff(in)
	info := Info{Format: ft.name}
	if err != nil {
		return info, err
	}
	if how.ffmpeg {
		ft.open = nil
	}
	src, err := openContained(ctx, ft, in)
	if err != nil {
		return info, err
	}
	if src.close != nil {
		defer src.close()
	}
	info.Rate, info.Channels = src.rate, src.channels
	p := &pump{limits: d.limits, src: src, out: out, faults: in.faults, rate: d.rate}
	err = p.run(ctx)
	info.Samples, info.PCMRate, info.Faults = p.total(), d.rate, *in.faults
	return info, err
}

func openContained(ctx context.Context, ft format, in *file) (s *source, err error) {
	defer func() {
		if p := recover(); p != nil {
			s, err = nil, undecodable("reading %s header: %v", ft.name, p)
		}
	}()
	if ft.open == nil {
		return in.ffmpeg.open(ctx, in, ft)
	}
	return ft.open(ctx, in)
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
		in.err = &Error{Code: TooLarge, Err: errors.New("the file is larger than the limit")}
		return 0, in.err
	case err != nil && !errors.Is(err, io.EOF):
		in.err = fmt.Errorf("reading audio: %w", err)
		return n, in.err
	}
	return n, err
}

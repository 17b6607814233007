// Package audio turns an audio file of any supported format into 44.1 kHz mono 16-bit PCM, as a
// stream: its memory does not grow with the length of the track.
//
// Files are hostile input. The format is told by content, never by name; wav and flac are
// decoded in Go, other formats by an ffmpeg child process under limits, and mp3 in Go where there is no ffmpeg. What each format is decoded
// by, and why, is in docs/adr/0010-one-decoder-per-format.md and docs/adr/0098-mp3-goes-through-ffmpeg.md.
package audio

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"time"
)

// SampleRate of the PCM that comes out, in Hz.
const SampleRate = 44100

// Bounds on what a file may say of itself.
const (
	minRate     = 1000
	maxRate     = 768_000
	maxChannels = 64
)

// MinSeconds is the length of the shortest track that is accepted.
const MinSeconds = 0.1

// Limits bound the work on one file. Every limit must be positive.
type Limits struct {
	// FileBytes is the size of the largest file; a larger one is TooLarge.
	FileBytes int64
	// Duration of the longest track; a longer one is TooLong.
	Duration time.Duration
	// DecodedBytes bounds frames x channels x 4 bytes over the whole file, which is what a
	// decompression bomb grows; beyond it the file is TooLarge.
	DecodedBytes int64
	// Timeout is the wall time of decoding one file; beyond it the file is Timeout.
	Timeout time.Duration
}

// Code says what is wrong with a file.
type Code string

// The faults of a file.
const (
	Undecodable Code = "undecodable"
	Empty       Code = "empty"
	TooShort    Code = "too short"
	TooLong     Code = "too long"
	TooLarge    Code = "too large"
	Timeout     Code = "timeout"
	// NeedsFFmpeg says that the format is read by ffmpeg, which is not installed.
	NeedsFFmpeg Code = "needs ffmpeg"
)

// Error is a fault of the file (or of what is installed to read it). Any other error of this package is a fault of the
// surroundings: try again.
type Error struct {
	Code Code
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// CodeOf returns the code of the Error in err's chain, or "".
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}

func undecodable(format string, args ...any) error {
	return &Error{Code: Undecodable, Err: fmt.Errorf(format, args...)}
}

func tooLong(l Limits) error {
	return &Error{Code: TooLong, Err: fmt.Errorf("the track is longer than %s", l.Duration)}
}

// errUnsupported marks a valid file of a variant that the Go decoder of its format does not read
// and ffmpeg does.
var errUnsupported = errors.New("variant not read without ffmpeg")

// file is an audio file while it is read, and what reading it needs.
type file struct {
	*bufio.Reader
	faults *Faults
	ffmpeg ffmpeg
}

// source is a decoded stream of interleaved samples in [-1, 1].
type source struct {
	// rate and channels of the block that next returned last; before, of the first. They may change from block to block.
	rate, channels int
	// declared is the length that the file claims, in frames (samples of one channel) at the first rate; 0 if unknown or not to be
	// compared. A difference of up to slack frames is no fault.
	declared, slack int64
	// next returns the following whole frames, valid until the next call, io.EOF at the end, or io.ErrUnexpectedEOF where the
	// file ends in the middle of something. An Undecodable error says that nothing further can be read.
	next func() ([]float32, error)
	// skip passes over some frames without decoding them and returns how many, with the errors of next. nil where a
	// format does not tell lengths without decoding.
	skip func() (int64, error)
	// close frees what the source holds and may be nil.
	close func()
}

func (s *source) check() error {
	if s.rate < minRate || s.rate > maxRate {
		return undecodable("sample rate %d Hz is outside %d to %d", s.rate, minRate, maxRate)
	}
	if s.channels < 1 || s.channels > maxChannels {
		return undecodable("%d channels are outside 1 to %d", s.channels, maxChannels)
	}
	return nil
}

// advance returns the number of frames that follow, and their samples unless they may be skipped and the format allows it. It turns a panic
// of a decoder library into an error of the file.
func (s *source) advance(maySkip bool) (frames int64, block []float32, err error) {
	defer func() {
		if p := recover(); p != nil {
			frames, block, err = 0, nil, undecodable("decoder gave up on malformed data: %v", p)
		}
	}()
	if maySkip && s.skip != nil {
		frames, err = s.skip()
		return frames, nil, err
	}
	block, err = s.next()
	return int64(len(block) / s.channels), block, err
}

// atEnd reports the end of input, whole or in the middle of something.
func atEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

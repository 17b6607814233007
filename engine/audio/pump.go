package audio

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// output is where samples go, and how many are wanted.
type output struct {
	keep int64
	sink func([]int16) error
	// floats takes the samples before they are rounded, in place of sink.
	floats func([]float32) error
}

// maxParts bounds how often the sample rate or the channels may change inside a file: each part has a resampler of its own.
const maxParts = 32

// pump moves blocks from a source to the sink and keeps the limits.
type pump struct {
	limits Limits
	src    *source
	out    output
	faults *Faults
	rate   int // of the PCM that comes out, Hz
	part   part
	parts  int
	before int64 // samples that the parts before this one became
	bytes  int64 // decoded so far
	pcm    []int16
	level  level
	// written counts the samples put out.
	written int64
}

// part is a stretch of the file with one sample rate and one number of channels.
type part struct {
	rate, channels int
	frames         int64
	mix            *mixer
	resample       *resampler
}

// outputs is how many samples of PCM the part becomes.
func (p *part) outputs() int64 {
	if p.resample == nil {
		return p.frames
	}
	return p.resample.outputs(p.frames)
}

func (p *pump) run(ctx context.Context) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		n, block, err := p.src.advance(p.enough())
		if err != nil {
			if err = p.ended(err); err != nil {
				return err
			}
			break
		}
		if err := p.push(n, block); err != nil {
			return err
		}
	}
	if err := p.finishPart(); err != nil {
		return err
	}
	p.level.report(p.faults)
	return p.verdict()
}

// ended decides what the end of a source means: a fault of a file in which something was heard is noted, not returned.
func (p *pump) ended(err error) error {
	code := CodeOf(err)
	broken := code == Undecodable || errors.Is(err, errUnsupported)
	switch {
	case p.total() == 0 && code == "" && (errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) && p.src.declared > 0):
		return undecodable("the file is truncated before its first sample")
	case broken && p.total() > 0:
		p.faults.add(Truncated, p.seconds(), "what follows %.1f s cannot be decoded: %v", p.seconds(), err)
	case errors.Is(err, io.ErrUnexpectedEOF):
		p.faults.add(Truncated, p.seconds(), "the file breaks off after %.1f s", p.seconds())
	case !errors.Is(err, io.EOF):
		return err
	}
	p.compareLength()
	return nil
}

// compareLength notes a header that tells another length than the frames that were there.
func (p *pump) compareLength() {
	if p.src.declared == 0 || p.parts > 1 || p.total() == 0 {
		return
	}
	rate := float64(p.part.rate)
	told, missing := float64(p.src.declared)/rate, p.src.declared-p.part.frames
	switch {
	case missing > p.src.slack:
		p.faults.MissingS += float64(missing) / rate
		if !p.faults.has(Truncated) && !p.faults.has(DamagedFrames) {
			p.faults.add(Truncated, p.seconds(), "the file is truncated: its header tells of %.1f s, %.1f s are there", told, p.seconds())
		}
	case -missing > p.src.slack:
		p.faults.whole(StaleHeader, "the header tells of %.1f s, %.1f s are there and were read", told, p.seconds())
	}
}

// total is the number of samples of PCM that the whole track has.
func (p *pump) total() int64 { return p.before + p.part.outputs() }

func (p *pump) seconds() float64 { return float64(p.total()) / float64(p.rate) }

// enough says that all samples that are wanted have been put out.
func (p *pump) enough() bool { return p.written >= p.out.keep }

func (p *pump) push(n int64, block []float32) error {
	if n > 0 && (p.src.rate != p.part.rate || p.src.channels != p.part.channels) {
		if err := p.nextPart(); err != nil {
			return err
		}
	}
	begun := p.seconds()
	p.part.frames += n
	p.bytes += n * int64(p.src.channels) * 4
	if time.Duration(p.seconds()*float64(time.Second)) > p.limits.Duration {
		return tooLong(p.limits)
	}
	if p.bytes > p.limits.DecodedBytes {
		return &Error{Code: TooLarge, Err: fmt.Errorf("the track decodes to more than %d bytes", p.limits.DecodedBytes)}
	}
	p.level.look(block, begun, p.faults)
	if p.enough() {
		return nil
	}
	return p.part.mix.push(block, p.take)
}

// nextPart begins a stretch of another rate or number of channels.
func (p *pump) nextPart() error {
	if err := p.src.check(); err != nil {
		return err
	}
	if err := p.finishPart(); err != nil {
		return err
	}
	old := p.part
	p.before += old.outputs()
	p.part = part{rate: p.src.rate, channels: p.src.channels, resample: newResampler(p.src.rate, p.rate)}
	p.part.mix = newMixer(p.src.rate, p.src.channels, p.before*SampleRate/int64(p.rate), p.faults)
	if p.parts++; p.parts > maxParts {
		return undecodable("the sample rate or the channels change more than %d times", maxParts)
	}
	if p.parts == 1 {
		return nil
	}
	if old.rate != p.part.rate {
		p.faults.add(SampleRateChanged, p.seconds(), "the sample rate changes from %d to %d Hz at %.1f s", old.rate, p.part.rate, p.seconds())
	}
	if old.channels != p.part.channels && old.rate == p.part.rate {
		p.faults.add(FormatChanged, p.seconds(), "the file changes from %d to %d channels at %.1f s", old.channels, p.part.channels, p.seconds())
	}
	return nil
}

// finishPart puts out what the mixer and the resampler still hold.
func (p *pump) finishPart() error {
	if p.parts == 0 || p.enough() {
		return nil
	}
	if err := p.part.mix.flush(p.take); err != nil {
		return err
	}
	if p.part.resample == nil {
		return nil
	}
	return p.emit(p.part.resample.flush())
}

// take moves mono samples at the file's rate on.
func (p *pump) take(mono []float32) error {
	p.level.measure(mono)
	if p.part.resample != nil {
		mono = p.part.resample.process(mono)
	}
	return p.emit(mono)
}

func (p *pump) emit(mono []float32) error {
	if len(mono) == 0 {
		return nil
	}
	if p.out.floats != nil {
		p.written += int64(len(mono))
		return p.out.floats(mono)
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

// verdict refuses a track in which nothing can be heard for want of samples.
func (p *pump) verdict() error {
	switch {
	case p.total() == 0:
		return &Error{Code: Empty, Err: errors.New("the file holds no samples")}
	case p.level.values > 0 && p.level.notFinite == p.level.values:
		return undecodable("no sample of the file is a number (all are NaN or infinite): export it again")
	case p.seconds() < MinSeconds:
		return &Error{Code: TooShort, Err: fmt.Errorf("the track lasts %.3f s, the shortest accepted is %g s", p.seconds(), MinSeconds)}
	}
	return nil
}

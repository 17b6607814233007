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
	if p.resample != nil && !p.enough() {
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

// enough says that all samples that are wanted have been put out.
func (p *pump) enough() bool { return p.written >= p.out.keep }

func (p *pump) push(n int64, block []float32) error {
	p.frames += n
	if time.Duration(p.seconds(p.frames)*float64(time.Second)) > p.limits.Duration {
		return &Error{Code: TooLong, Err: fmt.Errorf("the track is longer than %s", p.limits.Duration)}
	}
	if p.frames*int64(p.src.channels)*4 > p.limits.DecodedBytes {
		return &Error{Code: TooLarge, Err: fmt.Errorf("the track decodes to more than %d bytes", p.limits.DecodedBytes)}
	}
	if p.enough() {
		return nil
	}
	mono := p.downmix(block, int(n))
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
		return &Error{Code: Empty, Err: errors.New("the file holds no samples")}
	case p.seconds(p.frames) < MinSeconds:
		return &Error{Code: TooShort, Err: fmt.Errorf("the track lasts %.3f s, the shortest accepted is %g s", p.seconds(p.frames), MinSeconds)}
	}
	return nil
}

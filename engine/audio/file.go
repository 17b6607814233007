package audio

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// MaxInMemory is the longest track that DecodeFile holds in memory, in samples at 44.1 kHz: ten minutes.
const MaxInMemory = 600 * SampleRate

// maxFloats is the longest track that DecodeFloats holds in memory, in seconds.
const maxFloats = 1200

// DefaultConfig has the limits that chunker-svc has by default, and looks for ffmpeg in PATH.
func DefaultConfig() Config {
	return Config{Limits: Limits{FileBytes: 1 << 30, Duration: 2 * time.Hour, DecodedBytes: 4 << 30, Timeout: 5 * time.Minute}}
}

// DecodeFile reads a whole track into 44.1 kHz mono PCM. Tracks below MinSeconds, which the chunker refuses, are read too; tracks above
// MaxInMemory are an error.
func (d *Decoder) DecodeFile(ctx context.Context, path string) ([]int16, error) {
	var pcm []int16
	info, err := d.Decode(ctx, func() (io.ReadCloser, error) { return os.Open(path) }, MaxInMemory, func(block []int16) error {
		pcm = append(pcm, block...)
		return nil
	})
	if err != nil && CodeOf(err) != TooShort {
		return nil, fmt.Errorf("decoding %s: %w", path, err)
	}
	if info.Samples > MaxInMemory {
		return nil, fmt.Errorf("decoding %s: it lasts %.0f s, the most are %d s: cut it first", path, info.Seconds(), MaxInMemory/SampleRate)
	}
	return pcm, nil
}

// DecodeFloats reads a track of at most 20 minutes into mono samples in [-1, 1) at the decoder's rate, not rounded to 16 bits; longer tracks are an
// error.
func (d *Decoder) DecodeFloats(ctx context.Context, path string) ([]float32, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, d.limits.Timeout, errTimeout)
	defer cancel()
	var samples []float32
	out := output{keep: int64(maxFloats * d.rate), floats: func(block []float32) error {
		samples = append(samples, block...)
		return nil
	}}
	info, err := d.tries(ctx, func() (io.ReadCloser, error) { return os.Open(path) }, out)
	if err != nil && CodeOf(err) != TooShort {
		return nil, fmt.Errorf("decoding %s: %w", path, err)
	}
	if info.Seconds() > maxFloats {
		return nil, fmt.Errorf("decoding %s: it lasts %.0f s, the most are %d s: cut it first", path, info.Seconds(), maxFloats)
	}
	return samples, nil
}

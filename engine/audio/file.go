package audio

import (
	"context"
	"fmt"
	"io"
	"os"
	"time"
)

// MaxInMemory is the longest track that DecodeFile holds in memory, in samples: ten minutes.
const MaxInMemory = 600 * SampleRate

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

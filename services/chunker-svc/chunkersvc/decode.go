package chunkersvc

import (
	"context"
	"fmt"
	"io"
	"os"

	"github.com/larkstream/larkstream/engine/audio"
)

// MaxDecode is the longest track that Decode holds in memory, in samples: ten minutes.
const MaxDecode = 600 * audio.SampleRate

// Decode reads a whole track into 44.1 kHz mono PCM, with the same code that the service runs. Tracks below 0.1 s, which the service
// refuses, are read too; tracks above MaxDecode are an error.
func Decode(ctx context.Context, cfg Config, path string) ([]int16, error) {
	decoder, err := cfg.Audio.decoder()
	if err != nil {
		return nil, err
	}
	var pcm []int16
	info, err := decoder.Decode(ctx, func() (io.ReadCloser, error) { return os.Open(path) }, MaxDecode, func(block []int16) error {
		pcm = append(pcm, block...)
		return nil
	})
	if err != nil && audio.CodeOf(err) != audio.TooShort {
		return nil, fmt.Errorf("decoding %s: %w", path, err)
	}
	if info.Samples > MaxDecode {
		return nil, fmt.Errorf("decoding %s: it lasts %.0f s, the most are %d s: cut it first", path, info.Seconds(), MaxDecode/audio.SampleRate)
	}
	return pcm, nil
}

// Package analyse measures audio files with engine/mir and writes what is found.
package analyse

import (
	"context"
	"fmt"
	"io"
	"math"
	"os"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/mir"
)

// Span is the part of a file that is measured, in seconds.
type Span struct{ From, To float64 }

// Whole is all of a file.
func Whole() Span { return Span{To: math.Inf(1)} }

// Measured is what one file is measured to be.
type Measured struct {
	mir.Result
	File string
	// Offset is where the part that was measured starts, in seconds. Beats count from the start of the file.
	Offset float64
	// Channels of the file itself; measured is their mean.
	Channels int
	// Faults of the file, damage among them. The readings are of what could be heard.
	Faults audio.Faults
}

// File measures a part of a file and hands each beat to onBeat, in order. The file is streamed: memory does not grow with its length.
func File(ctx context.Context, decoder *audio.Decoder, path string, span Span, onBeat func(mir.Beat)) (Measured, error) {
	analyser := mir.New(func(b mir.Beat) {
		b.Seconds += span.From
		onBeat(b)
	})
	skip, keep := int64(span.From*audio.SampleRate), int64(math.MaxInt64)
	if span.To < math.MaxInt64/audio.SampleRate {
		keep = int64(span.To * audio.SampleRate)
	}
	left := keep - skip
	info, err := decoder.Decode(ctx, func() (io.ReadCloser, error) { return os.Open(path) }, keep, func(pcm []int16) error {
		cut := min(skip, int64(len(pcm)))
		skip, pcm = skip-cut, pcm[cut:]
		pcm = pcm[:min(left, int64(len(pcm)))]
		left -= int64(len(pcm))
		analyser.Write(pcm)
		return nil
	})
	if err != nil {
		return Measured{}, fmt.Errorf("reading %s: %w", path, err)
	}
	if span.From >= info.Seconds() {
		return Measured{}, fmt.Errorf("reading %s: it ends after %.2f s, before the part that was asked for (from %g s)", path, info.Seconds(), span.From)
	}
	return Measured{Result: analyser.Finish(), File: path, Offset: span.From, Channels: info.Channels, Faults: info.Faults}, nil
}

// Played is the loudness as the file is played: a file of more than one channel by two loudspeakers.
func (m Measured) Played() mir.Loudness {
	if m.Channels > 1 {
		return m.Loudness.DualMono()
	}
	return m.Loudness
}

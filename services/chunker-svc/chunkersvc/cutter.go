package chunkersvc

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/larkstream/larkstream/engine/audio/cut"
	"github.com/larkstream/larkstream/engine/audio/plan"
	"github.com/larkstream/larkstream/services/chunker-svc/internal/handle"
	"github.com/larkstream/larkstream/shared/event/eventpb"
)

// Window is a window cut in process. PCM is 44.1 kHz mono and the caller's own.
type Window struct {
	// Index in the plan, from 0.
	Index int
	// Hash is the hex SHA-256 of the PCM and the preprocessing revision.
	Hash string
	// StartS and EndS are seconds from the start of the track.
	StartS, EndS float64
	PCM          []int16
}

// Cutter cuts files into windows in process, with the same code that the service runs. It is safe for
// concurrent use.
type Cutter struct {
	cutter *cut.Cutter
	spanS  float64
}

// OpenCutter makes a Cutter for an encoder that hears spanS seconds of a window.
func OpenCutter(cfg Config, spanS float64) (*Cutter, error) {
	decoder, err := cfg.Audio.decoder()
	if err != nil {
		return nil, err
	}
	return &Cutter{cutter: cut.New(decoder, cfg.Audio.Scratch), spanS: spanS}, nil
}

// Cut calls each with the windows of the file at path, in order, and returns the length of the track in seconds. An error of each
// ends it and comes back.
func (c *Cutter) Cut(ctx context.Context, path string, mode eventpb.PlanMode, spans []*eventpb.Span, each func(Window) error) (float64, error) {
	open := func() (io.ReadCloser, error) { return os.Open(path) }
	info, err := c.cutter.Cut(ctx, open, handle.RuleOf(mode, spans, c.spanS), func(w cut.Window) error {
		return each(Window{
			Index: w.Index, Hash: w.Hash, StartS: plan.Seconds(w.Start), EndS: plan.Seconds(w.End), PCM: toSamples(w.PCM),
		})
	})
	if err != nil {
		return 0, fmt.Errorf("cutting %s: %w", path, err)
	}
	return info.Seconds(), nil
}

func toSamples(raw []byte) []int16 {
	out := make([]int16, len(raw)/2)
	for i := range out {
		out[i] = int16(binary.LittleEndian.Uint16(raw[2*i:]))
	}
	return out
}

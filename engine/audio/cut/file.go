package cut

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"

	"github.com/larkstream/larkstream/engine/audio/plan"
)

// FileWindow is a window of a file. PCM is mono at the rule's sample rate and the caller's own.
type FileWindow struct {
	// Index in the plan, from 0.
	Index int
	// Hash is the hex SHA-256 of the PCM and the preprocessing revision.
	Hash string
	// StartS and EndS are seconds from the start of the track.
	StartS, EndS float64
	PCM          []int16
}

// CutFile calls each with the windows of the file at path, in order, and returns the length of the track in seconds. An error of each
// ends the cutting and comes back.
func (c *Cutter) CutFile(ctx context.Context, path string, rule plan.Rule, each func(FileWindow) error) (float64, error) {
	open := func() (io.ReadCloser, error) { return os.Open(path) }
	info, err := c.Cut(ctx, open, rule, func(w Window) error {
		return each(FileWindow{
			Index: w.Index, Hash: w.Hash, StartS: plan.Seconds(w.Start, rule.Rate), EndS: plan.Seconds(w.End, rule.Rate), PCM: toSamples(w.PCM),
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

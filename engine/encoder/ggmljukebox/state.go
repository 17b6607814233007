package ggmljukebox

import (
	"errors"

	"github.com/larkstream/larkstream/engine/encoder/ggmlgraph"
	"github.com/larkstream/larkstream/engine/encoder/jukebox"
	"github.com/larkstream/larkstream/engine/native/ggml"
)

// state is what stays on the device between the graphs of a batch. All of it is flat and made once for the largest batch.
type state struct {
	*ggml.Context
	buffer *ggml.Buffer
	// codeTable and positionTable come from the weights.
	codeTable, positionTable ggml.Tensor

	codes, positions ggml.Tensor // the row of each table that a position is embedded with
	x                ggml.Tensor // activations, [positions, width]
	frames           ggml.Tensor // averages of x, [frames, width], window by window
	blockMask        ggml.Tensor // causal, of a block
	acrossMasks      ggml.Tensor // causal, of as many blocks as each window has
	zeros            ggml.Tensor // [block, state]
}

func describeState(l *ggml.Library, c jukebox.Config, w *weights, windows int) (*state, error) {
	x, err := l.NewContext(8, 0)
	if err != nil {
		return nil, err
	}
	s := &state{Context: x, codeTable: w.codes, positionTable: w.positions}
	positions, block := int64(windows*c.Context), int64(c.Context/c.Blocks)
	s.codes, s.positions = s.Tensor(ggml.I32, positions), s.Tensor(ggml.I32, positions)
	s.x, s.frames = s.Tensor(ggml.F32, positions*int64(c.Width)), s.Tensor(ggml.F32, int64(windows*c.Frames(c.WindowSamples())*c.Width))
	s.blockMask, s.acrossMasks = s.Tensor(ggml.F32, block, block), s.Tensor(ggml.F32, int64(windows*maskRoom(c.Blocks)))
	s.zeros = s.Tensor(ggml.F32, int64(c.State)*block)
	return s, s.Err()
}

// prepare sets what does not change.
func (s *state) prepare(c jukebox.Config) error {
	block := c.Context / c.Blocks
	return errors.Join(ggml.Set(s.blockMask, causal(block)), ggml.Set(s.zeros, make([]float32, c.State*block)))
}

// load sets what a batch begins with: for each position of each window the row of the code before it, and for the first position the start's row.
func (s *state) load(c jukebox.Config, l layout, codes [][]int32) error {
	rows, positions := make([]int32, l.positions()), make([]int32, l.positions())
	mask := 0
	for w, span := range l {
		rows[span.first] = int32(c.Bins)
		copy(rows[span.first+1:span.first+span.positions], codes[w])
		for i := range span.positions {
			positions[span.first+i] = int32(i)
		}
		blocks := span.positions / (c.Context / c.Blocks)
		if err := ggml.SetAt(s.acrossMasks, mask*ggmlgraph.FloatBytes, causal(blocks)); err != nil {
			return err
		}
		mask += maskRoom(blocks)
	}
	return errors.Join(ggml.SetAt(s.codes, 0, rows), ggml.SetAt(s.positions, 0, positions))
}

// read gives the frames of each window.
func (s *state) read(c jukebox.Config, l layout) ([][]float32, error) {
	all := make([][]float32, len(l))
	first := 0
	for w, span := range l {
		all[w] = make([]float32, span.frames*c.Width)
		if err := ggml.GetAt(s.frames, first*c.Width*ggmlgraph.FloatBytes, all[w]); err != nil {
			return nil, err
		}
		first += span.frames
	}
	return all, nil
}

func (s *state) close() {
	if s.buffer != nil {
		s.buffer.Close()
	}
	s.Close()
}

package ggmlwhisper

import (
	"errors"

	"github.com/larkstream/larkstream/engine/encoder/ggmlgraph"
	"github.com/larkstream/larkstream/engine/encoder/whisper"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/native/ggml"
	"github.com/larkstream/larkstream/engine/tensor"
)

// state is what stays on the device between the graphs of a batch. All of it is flat and made once for the largest batch.
type state struct {
	*ggml.Context
	buffer *ggml.Buffer

	input  ggml.Tensor // frames with zeros around them, [slots, mels]
	mask   ggml.Tensor // of the rows of input that hold frames
	zeros  ggml.Tensor // [width]
	picked ggml.Tensor // the row behind the second convolution of each row
	places ggml.Tensor // the position of each row
	x      ggml.Tensor // activations, [rows, width]
	frames ggml.Tensor // pooled, [frames, width]
	floats []float32   // for input
}

func describeState(l *ggml.Library, c audiobundle.Config, most layout) (*state, error) {
	x, err := l.NewContext(8, 0)
	if err != nil {
		return nil, err
	}
	s := &state{Context: x}
	width, rows := int64(c.Width), int64(most.rows)
	s.input, s.mask, s.zeros = s.Tensor(ggml.F32, int64(most.slots*c.Mels)), s.Tensor(ggml.F32, int64(most.slots)), s.Tensor(ggml.F32, width)
	s.picked, s.places = s.Tensor(ggml.I32, rows), s.Tensor(ggml.I32, rows)
	s.x, s.frames = s.Tensor(ggml.F32, rows*width), s.Tensor(ggml.F32, int64(most.frames)*width)
	return s, s.Err()
}

// load sets what a batch begins with.
func (s *state) load(c audiobundle.Config, l layout, mels []tensor.Matrix) error {
	s.floats = make([]float32, l.slots*c.Mels)
	at := 0
	for i, chunk := range l.chunks {
		at += len(chunk.Input(s.floats[at:], mels[i]))
	}
	picked, places := l.picks()
	return errors.Join(ggml.SetAt(s.input, 0, s.floats), ggml.SetAt(s.mask, 0, l.mask()), ggml.SetAt(s.picked, 0, picked), ggml.SetAt(s.places, 0, places))
}

// read gives the frames of each chunk.
func (s *state) read(c audiobundle.Config, chunks []whisper.Chunk) ([][]float32, error) {
	all := make([][]float32, len(chunks))
	first := 0
	for i, chunk := range chunks {
		all[i] = make([]float32, chunk.Tokens()*c.Width)
		if len(all[i]) == 0 {
			continue
		}
		if err := ggml.GetAt(s.frames, first*ggmlgraph.FloatBytes, all[i]); err != nil {
			return nil, err
		}
		first += len(all[i])
	}
	return all, nil
}

func (s *state) close() {
	if s.buffer != nil {
		s.buffer.Close()
	}
	s.Close()
}

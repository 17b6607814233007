package whisper

import (
	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/tensor"
)

// Span is where the rows of a window or a block lie among the rows that the encoder's layers run on.
type Span struct{ First, Rows int }

// Chunk is what runs through the layers at once: frames of the spectrogram, and the spans of their rows. The frames of a span begin at Frame
// Starts[i] and are Frames[i].
type Chunk struct {
	Spans  []Span
	Starts []int
	Frames []int
	// Slot is how many rows of frames a span takes in the input of the stem, zeros around it included; it is even.
	Slot int
}

// Rows is the number of rows of the chunk.
func (c Chunk) Rows() int {
	last := c.Spans[len(c.Spans)-1]
	return last.First + last.Rows
}

// Tokens is the number of pooled frames of the chunk.
func (c Chunk) Tokens() int {
	n := 0
	for _, s := range c.Spans {
		n += s.Rows / 2
	}
	return n
}

// blocksAtOnce is how many blocks run through the layers at once: 30 s of them.
const blocksAtOnce = 15

// Chunks divides audio of so many samples, whose spectrogram has so many frames. A whole window is one chunk; it takes two frames more than
// the audio has, which its last row depends on. Blocks are independent of one another.
func Chunks(c audiobundle.Config, samples, melFrames int) []Chunk {
	frames := Frames(samples)
	if c.Block == 0 {
		return []Chunk{{
			Spans: []Span{{0, Rows(frames)}}, Starts: []int{0}, Frames: []int{melFrames},
			Slot: (melFrames + 3) / 2 * 2,
		}}
	}
	var all []Chunk
	for at := 0; at < frames; at += c.Block * blocksAtOnce {
		chunk, first := Chunk{Slot: c.Block + 2}, 0
		for b := at; b < min(frames, at+c.Block*blocksAtOnce); b += c.Block {
			n := min(c.Block, frames-b)
			chunk.Spans = append(chunk.Spans, Span{first, Rows(n)})
			chunk.Starts, chunk.Frames = append(chunk.Starts, b), append(chunk.Frames, n)
			first += Rows(n)
		}
		all = append(all, chunk)
	}
	return all
}

// Input lays the frames of a chunk out for the stem: each span in a slot of its own, with zeros in front of and behind it,
// [len(Spans)·Slot, mels].
func (c Chunk) Input(dst []float32, mel tensor.Matrix) []float32 {
	dst = dst[:len(c.Spans)*c.Slot*mel.Cols]
	clear(dst)
	for i, start := range c.Starts {
		copy(dst[(i*c.Slot+1)*mel.Cols:], mel.Data[start*mel.Cols:(start+c.Frames[i])*mel.Cols])
	}
	return dst
}

// stem turns frames into rows [rows, width] with positions. A convolution is a product of rows that overlap: three frames that follow each
// other are one row of it. The products run over all slots at once; what they make of the seams is overwritten.
func (e *Encoder) stem(w *work, c Chunk, mel tensor.Matrix) []float32 {
	width, slots := e.config.Width, len(c.Spans)*c.Slot
	in := c.Input(grow(&w.input, slots*mel.Cols), mel)
	wide := grow(&w.wide, slots*width)
	gelu := tensor.Fused{Bias: e.weights.conv1.bias, Activate: tensor.GELUTable}
	e.weights.conv1.weight.MatMul(wide[width:], in, slots-2, mel.Cols, gelu)
	for i, n := range c.Frames {
		slot := wide[i*c.Slot*width : (i+1)*c.Slot*width]
		clear(slot[:width])
		clear(slot[(n+1)*width:])
	}
	out := grow(&w.normed, (slots/2-1)*width)
	gelu.Bias = e.weights.conv2.bias
	e.weights.conv2.weight.MatMul(out, wide, slots/2-1, 2*width, gelu)
	x := grow(&w.x, c.Rows()*width)
	for i, s := range c.Spans {
		to := x[s.First*width : (s.First+s.Rows)*width]
		copy(to, out[i*c.Slot/2*width:])
		tensor.Add(to, e.weights.positions[:s.Rows*width])
	}
	return x
}

package ggmlwhisper

import "github.com/larkstream/larkstream/engine/encoder/whisper"

// layout is where the chunks of a batch lie, one behind the other.
type layout struct {
	chunks []whisper.Chunk
	// spans are those of all chunks among the rows of the batch.
	spans []whisper.Span
	// slots is the number of rows of frames in the stem's input, rows that of the layers, and frames that of the pooled frames.
	slots, rows, frames int
}

func layoutOf(chunks []whisper.Chunk) layout {
	l := layout{chunks: chunks}
	for _, c := range chunks {
		for _, s := range c.Spans {
			l.spans = append(l.spans, whisper.Span{First: l.rows + s.First, Rows: s.Rows})
		}
		l.slots, l.rows, l.frames = l.slots+len(c.Spans)*c.Slot, l.rows+c.Rows(), l.frames+c.Tokens()
	}
	return l
}

// mask says which rows between the first and the last of the stem's input hold frames: 1, else 0.
func (l layout) mask() []float32 {
	mask := make([]float32, l.slots-2)
	base := 0
	for _, c := range l.chunks {
		for _, n := range c.Frames {
			for i := range n {
				mask[base+i] = 1 // row base is zero, and so the frames begin at row base+1
			}
			base += c.Slot
		}
	}
	return mask
}

// picks gives for each row which row behind the second convolution it is, and its position.
func (l layout) picks() (rows, positions []int32) {
	base := 0
	for _, c := range l.chunks {
		for _, s := range c.Spans {
			for i := range s.Rows {
				rows, positions = append(rows, int32(base/2+i)), append(positions, int32(i))
			}
			base += c.Slot
		}
	}
	return rows, positions
}

// group is spans of equal length that follow each other.
type group struct{ first, rows, count int }

// groups joins short spans whose attention is computed at once.
func (l layout) groups() []group {
	var all []group
	for _, s := range l.spans {
		if n := len(all) - 1; n >= 0 && all[n].rows == s.Rows && s.Rows <= shortSpan {
			all[n].count++
			continue
		}
		all = append(all, group{s.First, s.Rows, 1})
	}
	return all
}

// shortSpan bounds the spans whose scores are held at once.
const shortSpan = 128

// pairs gives stretches of rows of which neighbours are averaged: the last row of an odd number of rows is dropped.
func (l layout) pairs() []whisper.Span {
	var all []whisper.Span
	open := false
	for _, s := range l.spans {
		if n := len(all) - 1; open {
			all[n].Rows += s.Rows / 2 * 2
		} else {
			all = append(all, whisper.Span{First: s.First, Rows: s.Rows / 2 * 2})
		}
		open = s.Rows%2 == 0
	}
	return all
}

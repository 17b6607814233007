package whisper

import (
	"math"
	"runtime"

	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/tensor"
)

// work is the memory that one window works in. It grows and is used again.
type work struct {
	input, wide, x, normed, qkv, hidden []float32
	heads                               chan *heads
}

func newWork() *work {
	w := &work{heads: make(chan *heads, runtime.GOMAXPROCS(0))}
	for range cap(w.heads) {
		w.heads <- &heads{}
	}
	return w
}

func grow(buf *[]float32, n int) []float32 {
	if cap(*buf) < n {
		*buf = make([]float32, n)
	}
	*buf = (*buf)[:n]
	return *buf
}

// layer adds one layer to x [rows, width].
func (e *Encoder) layer(w *work, l *layer, x []float32, spans []Span) {
	width := e.config.Width
	rows := len(x) / width
	normed := grow(&w.normed, len(x))
	normRows(normed, x, l.norm1, rows)
	qkv := grow(&w.qkv, 3*len(x))
	l.qkv.weight.MatMul(qkv, normed, rows, width, tensor.Fused{Bias: l.qkv.bias})
	e.attend(w, qkv, normed, spans)
	l.out.weight.MatMul(x, normed, rows, width, tensor.Fused{Bias: l.out.bias, Accumulate: true})
	normRows(normed, x, l.norm2, rows)
	hidden := grow(&w.hidden, rows*e.config.FFN)
	l.up.weight.MatMul(hidden, normed, rows, width, tensor.Fused{Bias: l.up.bias, Activate: tensor.GELUTable})
	l.down.weight.MatMul(x, hidden, rows, e.config.FFN, tensor.Fused{Bias: l.down.bias, Accumulate: true})
}

func normRows(dst, x []float32, n norm, rows int) {
	const perItem = 64
	width := len(n.weight)
	tensor.Parallel((rows+perItem-1)/perItem, rows*width*16, func(item int) {
		from, to := item*perItem*width, min((item+1)*perItem, rows)*width
		tensor.LayerNorm(dst[from:to], x[from:to], n.weight, n.bias, (to-from)/width, audiobundle.NormEpsilon)
	})
}

// heads is the memory in which one span and head is computed.
type heads struct {
	q, k, v, scores, sums, out []float32
	keys, values               tensor.Packed
}

// queriesAtOnce is how many rows of scores are held at once, so that they stay in the cache.
const queriesAtOnce = 256

// attend sets out [rows, width] to the attention of the rows of each span on one another; a row of qkv holds query, key and value.
func (e *Encoder) attend(w *work, qkv, out []float32, spans []Span) {
	n := 0
	for _, s := range spans {
		n += s.Rows * s.Rows
	}
	tensor.Parallel(len(spans)*e.config.Heads, n*e.config.Width, func(item int) {
		h := <-w.heads
		e.head(spans[item/e.config.Heads], item%e.config.Heads, qkv, out, h)
		w.heads <- h
	})
}

// head computes softmax(q·kᵀ/√size)·v of one span and head.
func (e *Encoder) head(s Span, head int, qkv, out []float32, h *heads) {
	width := e.config.Width
	size := width / e.config.Heads
	scale := float32(1 / math.Sqrt(float64(size)))
	q, k, v := grow(&h.q, s.Rows*size), grow(&h.k, s.Rows*size), grow(&h.v, s.Rows*size)
	for i := range s.Rows {
		row := qkv[(s.First+i)*3*width+head*size:]
		for j, value := range row[:size] {
			q[i*size+j] = value * scale
			v[j*s.Rows+i] = row[2*width+j]
		}
		copy(k[i*size:][:size], row[width:])
	}
	h.keys.PackRows(k, s.Rows, size, e.precision)
	h.values.PackRows(v, size, s.Rows, e.precision)
	for first := 0; first < s.Rows; first += queriesAtOnce {
		n := min(queriesAtOnce, s.Rows-first)
		scores, mixed := grow(&h.scores, n*s.Rows), grow(&h.out, n*size)
		h.keys.MatMul(scores, q[first*size:], n, size, tensor.Fused{})
		sums := grow(&h.sums, n)
		for i := range n {
			sums[i] = tensor.Exponentials(scores[i*s.Rows:][:s.Rows])
		}
		h.values.MatMul(mixed, scores, n, s.Rows, tensor.Fused{})
		for i := range n {
			tensor.Scale(mixed[i*size:][:size], 1/sums[i]) // here, where a row has fewer numbers than one of scores
			copy(out[(s.First+first+i)*width+head*size:][:size], mixed[i*size:])
		}
	}
}

// pool averages neighbouring rows of each span to frames [tokens, width], and standardises them. The last of an odd number of rows is dropped.
func (e *Encoder) pool(x []float32, c Chunk) []float32 {
	width, at := e.config.Width, 0
	frames := make([]float32, c.Tokens()*width)
	for _, s := range c.Spans {
		for i := range s.Rows / 2 {
			a, b := x[(s.First+2*i)*width:][:width], x[(s.First+2*i+1)*width:][:width]
			frame := frames[at*width:][:width]
			for j := range frame {
				frame[j] = (a[j] + b[j]) / 2
			}
			at++
		}
	}
	normRows(frames, frames, e.weights.last, at)
	return frames
}

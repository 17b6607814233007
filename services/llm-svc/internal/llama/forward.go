package llama

import (
	"context"
	"math"

	"github.com/larkstream/larkstream/shared/tensor"
)

// memory holds the keys and values of consecutive positions.
type memory struct {
	size int // positions filled
	room int // positions allocated
	// keys and values per layer: [KVHeads, room, head].
	keys, values [][]float32
}

func (w *weights) newMemory(room int) *memory {
	m := &memory{room: room}
	for range w.layers {
		m.keys = append(m.keys, make([]float32, w.kv*room))
		m.values = append(m.values, make([]float32, w.kv*room))
	}
	return m
}

// thread is one text being read or written: a prefix that it may share with others, and positions of its own.
type thread struct {
	prefix *memory // read-only; may be nil
	own    *memory
}

func (t *thread) length() int {
	if t.prefix == nil {
		return t.own.size
	}
	return t.prefix.size + t.own.size
}

// workspace holds the buffers of one forward pass; it grows and is used again.
type workspace struct {
	x, normed, qkv, mixed, ffn, act, logits []float32
	scores                                  [][]float32 // one buffer per row and head group, see attend
}

func grow(buf *[]float32, n int) []float32 {
	if cap(*buf) < n {
		*buf = make([]float32, n)
	}
	*buf = (*buf)[:n]
	return *buf
}

type product func(dst, x, w []float32, m, n, k int)

// prefill runs rows x[n, Hidden] through the model as the next n positions of t and returns the last row's hidden state,
// before the final norm. x is overwritten.
func (w *weights) prefill(ctx context.Context, ws *workspace, t *thread, x []float32) ([]float32, error) {
	n := len(x) / w.Hidden
	threads := make([]*thread, n)
	for i := range threads {
		threads[i] = t
	}
	if err := w.forward(ctx, ws, threads, x, tensor.MatMulT); err != nil {
		return nil, err
	}
	return x[(n-1)*w.Hidden:], nil
}

// decode runs one token of each thread as its next position, all as one batch, and returns the logits [threads, Vocab].
// They are valid until the next call. A thread's logits do not depend on the others.
func (w *weights) decode(ctx context.Context, ws *workspace, threads []*thread, tokens []int) ([]float32, error) {
	x := grow(&ws.x, len(tokens)*w.Hidden)
	for i, id := range tokens {
		copy(x[i*w.Hidden:], w.row(id))
	}
	if err := w.forward(ctx, ws, threads, x, tensor.MatRowsT); err != nil {
		return nil, err
	}
	return w.logits(ws, x), nil
}

// row is the embedding of a token.
func (w *weights) row(id int) []float32 { return w.embed[id*w.Hidden:][:w.Hidden] }

// logits are the scores of the next token for hidden states x[n, Hidden]. They are valid until the next call.
func (w *weights) logits(ws *workspace, x []float32) []float32 {
	n := len(x) / w.Hidden
	normed := grow(&ws.normed, len(x))
	tensor.RMSNorm(normed, x, w.norm, n, float32(w.NormEps))
	out := grow(&ws.logits, n*w.Vocab)
	tensor.MatRowsT(out, normed, w.output, n, w.Vocab, w.Hidden)
	return out
}

// forward runs x[n, Hidden] in place through all layers. Row i is the next position of threads[i]; rows of one thread
// stand together in order. ctx is looked at before each layer.
func (w *weights) forward(ctx context.Context, ws *workspace, threads []*thread, x []float32, multiply product) error {
	n := len(threads)
	places := make([]int, n) // position of each row in its own memory
	filled := map[*thread]int{}
	for i, t := range threads {
		places[i] = t.own.size + filled[t]
		filled[t]++
	}
	normed := grow(&ws.normed, n*w.Hidden)
	for l := range w.layers {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		lay := &w.layers[l]
		tensor.RMSNorm(normed, x, lay.attnNorm, n, float32(w.NormEps))
		w.attention(ws, l, threads, places, normed, multiply)
		multiply(normed, ws.mixed, lay.out, n, w.Hidden, w.Hidden)
		tensor.Add(x, normed)
		tensor.RMSNorm(normed, x, lay.ffnNorm, n, float32(w.NormEps))
		w.feedForward(ws, lay, normed, n, multiply)
		tensor.Add(x, normed)
	}
	for t, rows := range filled {
		t.own.size += rows
	}
	return nil
}

// feedForward replaces h by down(silu(gate(h)) · up(h)).
func (w *weights) feedForward(ws *workspace, lay *layer, h []float32, n int, multiply product) {
	both := grow(&ws.ffn, n*2*w.FFN)
	act := grow(&ws.act, n*w.FFN)
	multiply(both, h, lay.gateUp, n, 2*w.FFN, w.Hidden)
	for i := range n {
		gate, up := both[i*2*w.FFN:][:w.FFN], both[i*2*w.FFN+w.FFN:][:w.FFN]
		tensor.SiLU(gate)
		tensor.Mul(gate, up)
		copy(act[i*w.FFN:], gate)
	}
	multiply(h, act, lay.down, n, w.Hidden, w.FFN)
}

// attention computes queries, keys and values of the rows in h, stores the keys and values in the threads, and leaves the
// mixed values in ws.mixed [n, Hidden].
func (w *weights) attention(ws *workspace, l int, threads []*thread, places []int, h []float32, multiply product) {
	n, width := len(threads), w.Hidden+2*w.kv
	qkv := grow(&ws.qkv, n*width)
	multiply(qkv, h, w.layers[l].qkv, n, width, w.Hidden)
	for i, t := range threads {
		row := qkv[i*width:][:width]
		pos := places[i]
		if t.prefix != nil {
			pos += t.prefix.size
		}
		w.rotary.Apply(row[:w.Hidden+w.kv], pos)
		for g := range w.KVHeads {
			at := (g*t.own.room + places[i]) * w.head
			copy(t.own.keys[l][at:at+w.head], row[w.Hidden+g*w.head:])
			copy(t.own.values[l][at:at+w.head], row[w.Hidden+w.kv+g*w.head:])
		}
	}
	mixed := grow(&ws.mixed, n*w.Hidden)
	if n > 1 && threads[0] == threads[n-1] && threads[0].prefix == nil && places[0] == 0 {
		w.attendWhole(l, threads[0].own, qkv, mixed, n)
		return
	}
	w.attendRows(ws, l, threads, places, qkv, mixed)
}

// attendWhole is causal attention of the first n positions of a text on themselves, head by head as matrix products.
func (w *weights) attendWhole(l int, m *memory, qkv, mixed []float32, n int) {
	width, perGroup := w.Hidden+2*w.kv, w.Heads/w.KVHeads
	scale := float32(1 / math.Sqrt(float64(w.head)))
	q, scores := make([]float32, n*w.head), make([]float32, n*n)
	turned, out := make([]float32, w.head*n), make([]float32, n*w.head)
	for h := range w.Heads {
		g := h / perGroup
		keys, values := m.keys[l][g*m.room*w.head:][:n*w.head], m.values[l][g*m.room*w.head:][:n*w.head]
		for i := range n {
			copy(q[i*w.head:][:w.head], qkv[i*width+h*w.head:])
			for j, v := range values[i*w.head:][:w.head] {
				turned[j*n+i] = v
			}
		}
		tensor.MatMulT(scores, q, keys, n, n, w.head)
		for i := range n {
			row := scores[i*n:][:n]
			scaledSoftmax(row[:i+1], scale)
			clear(row[i+1:])
		}
		tensor.MatMulT(out, scores, turned, n, w.head, n)
		for i := range n {
			copy(mixed[i*w.Hidden+h*w.head:][:w.head], out[i*w.head:])
		}
	}
}

// attendRows lets each row attend to its thread's prefix and to its own positions up to itself.
func (w *weights) attendRows(ws *workspace, l int, threads []*thread, places []int, qkv, mixed []float32) {
	width, perGroup := w.Hidden+2*w.kv, w.Heads/w.KVHeads
	scale := float32(1 / math.Sqrt(float64(w.head)))
	for len(ws.scores) < len(threads) {
		ws.scores = append(ws.scores, make([]float32, w.Context))
	}
	tensor.Parallel(len(threads), len(threads)*w.Hidden*256, func(i int) {
		t, own := threads[i], places[i]+1
		before := t.length() - t.own.size
		scores := ws.scores[i][:before+own]
		for h := range w.Heads {
			g := h / perGroup
			q, out := qkv[i*width+h*w.head:][:w.head], mixed[i*w.Hidden+h*w.head:][:w.head]
			if before > 0 {
				tensor.MatRowsT(scores, q, t.prefix.keys[l][g*t.prefix.room*w.head:], 1, before, w.head)
			}
			tensor.MatRowsT(scores[before:], q, t.own.keys[l][g*t.own.room*w.head:], 1, own, w.head)
			scaledSoftmax(scores, scale)
			clear(out)
			if before > 0 {
				tensor.WeightedRows(out, scores[:before], t.prefix.values[l][g*t.prefix.room*w.head:])
			}
			tensor.WeightedRows(out, scores[before:], t.own.values[l][g*t.own.room*w.head:])
		}
	})
}

func scaledSoftmax(x []float32, scale float32) {
	for i := range x {
		x[i] *= scale
	}
	tensor.Softmax(x)
}

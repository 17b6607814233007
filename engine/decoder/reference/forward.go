package reference

import (
	"math"

	"github.com/larkstream/larkstream/engine/tensor"
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

// before is the number of positions that stand before the thread's own.
func (t *thread) before() int {
	if t.prefix == nil {
		return 0
	}
	return t.prefix.size
}

// workspace holds the buffers of one forward pass; it grows and is used again.
type workspace struct {
	x, normed, qkv, mixed, ffn, act, logits []float32
	scores                                  [][]float32 // one buffer per row
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
func (w *weights) prefill(ws *workspace, t *thread, x []float32) []float32 {
	n := len(x) / w.Hidden
	threads := make([]*thread, n)
	for i := range threads {
		threads[i] = t
	}
	p := w.begin(ws, threads)
	for l := range w.layers {
		p.layer(l, x, tensor.MatMulT)
	}
	p.end()
	return x[(n-1)*w.Hidden:]
}

// decode runs one token of each thread as its next position, all as one batch, and returns the logits [threads, Vocab].
// They are valid until the next call. A thread's logits do not depend on the others.
func (w *weights) decode(ws *workspace, threads []*thread, tokens []int) []float32 {
	x := grow(&ws.x, len(tokens)*w.Hidden)
	for i, id := range tokens {
		copy(x[i*w.Hidden:], w.row(id))
	}
	p := w.begin(ws, threads)
	for l := range w.layers {
		p.layer(l, x, tensor.MatRowsT)
	}
	p.end()
	return w.logits(ws, x)
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

// pass is one forward pass of a batch of rows. Row i is the next position of threads[i]; rows of one thread stand together,
// in order.
type pass struct {
	*weights
	ws      *workspace
	threads []*thread
	places  []int // position of each row in its thread's own memory
	filled  map[*thread]int
}

func (w *weights) begin(ws *workspace, threads []*thread) *pass {
	p := &pass{weights: w, ws: ws, threads: threads, places: make([]int, len(threads)), filled: map[*thread]int{}}
	for i, t := range threads {
		p.places[i] = t.own.size + p.filled[t]
		p.filled[t]++
	}
	return p
}

// end counts the rows as part of their threads.
func (p *pass) end() {
	for t, rows := range p.filled {
		t.own.size += rows
	}
}

// layer runs x[n, Hidden] in place through layer l.
func (p *pass) layer(l int, x []float32, multiply product) {
	n, lay := len(p.threads), &p.layers[l]
	h := grow(&p.ws.normed, n*p.Hidden)
	tensor.RMSNorm(h, x, lay.attnNorm, n, float32(p.NormEps))
	p.attention(l, h, multiply)
	multiply(h, p.ws.mixed, lay.out, n, p.Hidden, p.Hidden)
	tensor.Add(x, h)
	tensor.RMSNorm(h, x, lay.ffnNorm, n, float32(p.NormEps))
	p.feedForward(p.ws, lay, h, n, multiply)
	tensor.Add(x, h)
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
func (p *pass) attention(l int, h []float32, multiply product) {
	n, width := len(p.threads), p.Hidden+2*p.kv
	qkv := grow(&p.ws.qkv, n*width)
	multiply(qkv, h, p.layers[l].qkv, n, width, p.Hidden)
	if bias := p.layers[l].bias; bias != nil {
		tensor.AddBias(qkv, bias, n)
	}
	for i, t := range p.threads {
		row := qkv[i*width:][:width]
		p.rotary.Apply(row[:p.Hidden+p.kv], t.before()+p.places[i])
		for g := range p.KVHeads {
			at := (g*t.own.room + p.places[i]) * p.head
			copy(t.own.keys[l][at:at+p.head], row[p.Hidden+g*p.head:])
			copy(t.own.values[l][at:at+p.head], row[p.Hidden+p.kv+g*p.head:])
		}
	}
	mixed := grow(&p.ws.mixed, n*p.Hidden)
	if n > 1 && p.threads[0] == p.threads[n-1] && p.threads[0].prefix == nil {
		p.attendWhole(l, p.threads[0].own, qkv, mixed, n)
		return
	}
	p.attendRows(l, qkv, mixed)
}

// attendWhole is causal attention of the next n positions of a text without a prefix on all positions up to themselves,
// head by head as matrix products.
func (w *weights) attendWhole(l int, m *memory, qkv, mixed []float32, n int) {
	width, perGroup := w.Hidden+2*w.kv, w.Heads/w.KVHeads
	scale := float32(1 / math.Sqrt(float64(w.head)))
	all := m.size + n
	q, scores := make([]float32, n*w.head), make([]float32, n*all)
	turned, out := make([]float32, w.head*all), make([]float32, n*w.head)
	for h := range w.Heads {
		g := h / perGroup
		keys, values := m.keys[l][g*m.room*w.head:][:all*w.head], m.values[l][g*m.room*w.head:][:all*w.head]
		for i := range n {
			copy(q[i*w.head:][:w.head], qkv[i*width+h*w.head:])
		}
		for i := range all {
			for j, v := range values[i*w.head:][:w.head] {
				turned[j*all+i] = v
			}
		}
		tensor.MatMulT(scores, q, keys, n, all, w.head)
		for i := range n {
			row := scores[i*all:][:all]
			scaledSoftmax(row[:m.size+i+1], scale)
			clear(row[m.size+i+1:])
		}
		tensor.MatMulT(out, scores, turned, n, w.head, all)
		for i := range n {
			copy(mixed[i*w.Hidden+h*w.head:][:w.head], out[i*w.head:])
		}
	}
}

// attendRows lets each row attend to its thread's prefix and to its own positions up to itself.
func (p *pass) attendRows(l int, qkv, mixed []float32) {
	width, perGroup := p.Hidden+2*p.kv, p.Heads/p.KVHeads
	scale := float32(1 / math.Sqrt(float64(p.head)))
	for len(p.ws.scores) < len(p.threads) {
		p.ws.scores = append(p.ws.scores, make([]float32, p.Context))
	}
	tensor.Parallel(len(p.threads), len(p.threads)*p.Hidden*256, func(i int) {
		t, before, own := p.threads[i], p.threads[i].before(), p.places[i]+1
		scores := p.ws.scores[i][:before+own]
		for h := range p.Heads {
			g := h / perGroup
			q, out := qkv[i*width+h*p.head:][:p.head], mixed[i*p.Hidden+h*p.head:][:p.head]
			if before > 0 {
				tensor.MatRowsT(scores, q, t.prefix.keys[l][g*t.prefix.room*p.head:], 1, before, p.head)
			}
			tensor.MatRowsT(scores[before:], q, t.own.keys[l][g*t.own.room*p.head:], 1, own, p.head)
			scaledSoftmax(scores, scale)
			clear(out)
			if before > 0 {
				tensor.WeightedRows(out, scores[:before], t.prefix.values[l][g*t.prefix.room*p.head:])
			}
			tensor.WeightedRows(out, scores[before:], t.own.values[l][g*t.own.room*p.head:])
		}
	})
}

func scaledSoftmax(x []float32, scale float32) {
	for i := range x {
		x[i] *= scale
	}
	tensor.Softmax(x)
}

package jukebox

import (
	"sync"

	"github.com/larkstream/larkstream/engine/tensor"
)

// buffers are memory that work items use again: as garbage it would double the memory of a window.
type buffers struct{ free sync.Pool }

// take gives n values, which may hold anything. The caller gives them back.
func (b *buffers) take(n int) *[]float32 {
	buf, ok := b.free.Get().(*[]float32)
	if !ok || cap(*buf) < n {
		fresh := make([]float32, n)
		return &fresh
	}
	*buf = (*buf)[:n]
	return buf
}

func (b *buffers) give(buf *[]float32) { b.free.Put(buf) }

// conv is a convolution over time: out[t] = bias + Σ weight[tap] · in[t·stride + tap·dilation - pad], zero beyond the ends. Signals
// are time-major, [time, channels].
type conv struct {
	in, out, taps, stride, dilation, pad int
	weight                               tensor.Packed // [taps·in, out]
	bias                                 []float32
}

// weights is how many the convolution has.
func (c *conv) weights() int { return c.in * c.out * c.taps }

// loadConv reads a convolution, whose weights a checkpoint holds as [out, in, taps].
func loadConv(r *reader, name string, in, out, taps, stride, dilation, pad int) *conv {
	c := &conv{in: in, out: out, taps: taps, stride: stride, dilation: dilation, pad: pad}
	stored := r.values(name+".weight", out, in, taps)
	c.bias = r.values(name+".bias", out)
	if r.err != nil {
		return c
	}
	byTap := make([]float32, len(stored)) // [out, taps·in]
	for o := range out {
		for i := range in {
			for tap := range taps {
				byTap[(o*taps+tap)*in+i] = stored[(o*in+i)*taps+tap]
			}
		}
	}
	c.weight.PackT(byTap, out, taps*in)
	return c
}

// convRows is how many outputs are computed in one work item. Their product stays on one processor.
const convRows = 156

// length is the number of outputs for that many inputs.
func (c *conv) length(inputs int) int {
	return (inputs+2*c.pad-c.dilation*(c.taps-1)-1)/c.stride + 1
}

// apply computes the whole signal dst [length(n), out] from src [n, in].
func (c *conv) apply(dst, src []float32, n int, memory *buffers) {
	total := c.length(n)
	tensor.Parallel((total+convRows-1)/convRows, total*c.weights(), func(item int) {
		first := item * convRows
		rows := min(convRows, total-first)
		columns := memory.take(rows * c.taps * c.in)
		defer memory.give(columns)
		c.gather(*columns, src, n, first, rows)
		c.multiply(dst[first*c.out:], *columns, rows)
	})
}

// gather lays out, for each of the outputs [first, first+rows), the inputs that it sees.
func (c *conv) gather(columns, src []float32, n, first, rows int) {
	for t := range rows {
		for tap := range c.taps {
			to := columns[(t*c.taps+tap)*c.in:][:c.in]
			from := (first+t)*c.stride + tap*c.dilation - c.pad
			if from < 0 || from >= n {
				clear(to)
				continue
			}
			copy(to, src[from*c.in:])
		}
	}
}

// multiply computes outputs from gathered inputs.
func (c *conv) multiply(dst, columns []float32, rows int) {
	c.weight.MatMul(dst, columns, rows, c.taps*c.in, tensor.Fused{Bias: c.bias})
}

// residual is x + conv1x1(relu(conv3(relu(x)))).
type residual struct{ wide, narrow *conv }

// apply computes dst [n, width] from src [n, width]; dst must not be src.
func (u residual) apply(dst, src []float32, n int, memory *buffers) {
	width := u.wide.in
	tensor.Parallel((n+convRows-1)/convRows, n*u.wide.weights(), func(item int) {
		first := item * convRows
		rows := min(convRows, n-first)
		buf := memory.take(rows * (u.wide.taps*width + u.wide.out))
		defer memory.give(buf)
		columns, hidden := (*buf)[:rows*u.wide.taps*width], (*buf)[rows*u.wide.taps*width:]
		u.wide.gather(columns, src, n, first, rows)
		tensor.ReLU(columns)
		u.wide.multiply(hidden, columns, rows)
		tensor.ReLU(hidden)
		out := dst[first*width:][:rows*width]
		u.narrow.multiply(out, hidden, rows)
		tensor.Add(out, src[first*width:])
	})
}

package tensor

import (
	"encoding/binary"
	"math"
)

// kernel is one implementation of the inner loops.
type kernel struct {
	name string
	tiles[float32]
	// pairs multiplies bfloat16; nil where only float32 can be multiplied, after rounding.
	pairs *pairs
	// dot4 sets dst[0..3] to the products of x with the four rows of w.
	dot4 func(dst, x, w []float32)
	// weigh adds Σ weights[i] · rows[i] to dst, for rows of len(dst).
	weigh func(dst, weights, rows []float32)
	// exp replaces every value of x by its exponential, with a relative error below 3e-7.
	exp func(x []float32)
	// greatest is the greatest value of x, infinity below where there is none. Values that are not numbers are passed over.
	greatest func(x []float32) float32
	// expSum replaces every value of x by e^(x-high), and sums them.
	expSum func(x []float32, high float32) float32
	// scale multiplies x by a number.
	scale func(x []float32, by float32)
	// gelu is GELUTable.
	gelu func(x []float32)
	// swish divides x by 1 + e^(slope·x).
	swish func(x []float32, slope float32)
	// deviations and squares sum x - mean and its square; they are the same in every kernel.
	deviations, squares func(x []float32, mean float64) float64
	// standardise sets dst to (x - mean)·scale·weight + bias.
	standardise func(dst, x, weight, bias []float32, mean, scale float32)
	// interleave sets dst[l·apart+i] to value l of row i, for four rows of x of depth values that lie stride apart.
	interleave func(dst, x []float32, stride, apart, depth int)
	// spread fills dst with values of from, which has groups of the tile's width that lie apart.
	spread func(dst, from []float32, apart int)
	// add adds x to dst.
	add func(dst, x []float32)
	// halves converts as many little-endian halves of src as dst has room for.
	halves func(dst []float32, src []byte)
}

func goKernel() *kernel {
	return &kernel{
		name: "go", tiles: tiles[float32]{2, 4, 1, 384, tileGo}, dot4: dot4Go, weigh: weighGo, exp: expGo, halves: halvesGo,
		swish: swishGo, deviations: deviationsGo, squares: squaresGo, standardise: standardiseGo, add: addGo, interleave: interleaveGo,
		greatest: greatestGo, expSum: expSumGo, scale: scaleGo, gelu: geluGo, spread: func(dst, from []float32, apart int) { spreadGo(dst, from, 4, apart) },
	}
}

// tileGo is a tile of 2 x 4: its sums and operands just fit the 16 vector registers of amd64.
func tileGo(depth, count int, a, b, c []float32) {
	for t := range count {
		var c00, c01, c02, c03, c10, c11, c12, c13 float32
		panel := b[t*depth*4:][:depth*4]
		for l := range depth {
			p, q := a[2*l:2*l+2:2*l+2], panel[4*l:4*l+4:4*l+4]
			a0, a1 := p[0], p[1]
			b0, b1, b2, b3 := q[0], q[1], q[2], q[3]
			c00, c01, c02, c03 = c00+a0*b0, c01+a0*b1, c02+a0*b2, c03+a0*b3
			c10, c11, c12, c13 = c10+a1*b0, c11+a1*b1, c12+a1*b2, c13+a1*b3
		}
		add4(c[8*t:], c00, c01, c02, c03)
		add4(c[8*t+4:], c10, c11, c12, c13)
	}
}

func add4(c []float32, v0, v1, v2, v3 float32) {
	c = c[:4:4]
	c[0], c[1], c[2], c[3] = c[0]+v0, c[1]+v1, c[2]+v2, c[3]+v3
}

func dot4Go(dst, x, w []float32) {
	k := len(x)
	w0, w1, w2, w3 := w[:k], w[k : 2*k][:k], w[2*k : 3*k][:k], w[3*k : 4*k][:k]
	var s0, s1, s2, s3 float32
	for i, v := range x {
		s0, s1, s2, s3 = s0+v*w0[i], s1+v*w1[i], s2+v*w2[i], s3+v*w3[i]
	}
	dst[0], dst[1], dst[2], dst[3] = s0, s1, s2, s3
}

func weighGo(dst, weights, rows []float32) {
	width := len(dst)
	for i, w := range weights {
		for j, v := range rows[i*width:][:width] {
			dst[j] += w * v
		}
	}
}

func expGo(x []float32) {
	for i, v := range x {
		x[i] = float32(math.Exp(float64(v)))
	}
}

func greatestGo(x []float32) float32 {
	high := float32(math.Inf(-1))
	for _, v := range x {
		if v > high {
			high = v
		}
	}
	return high
}

func expSumGo(x []float32, high float32) float32 {
	for i := range x {
		x[i] -= high
	}
	expGo(x)
	return sum(x)
}

func scaleGo(x []float32, by float32) {
	for i := range x {
		x[i] *= by
	}
}

// spreadGo copies groups of width values.
func spreadGo(dst, from []float32, width, apart int) {
	for ; len(dst) > 0; dst = dst[min(width, len(dst)):] {
		copy(dst[:min(width, len(dst))], from)
		from = from[min(apart, len(from)):]
	}
}

func dotGo(x, w []float32) float32 {
	w = w[:len(x)]
	var s0, s1, s2, s3 float32
	i := 0
	for ; i+4 <= len(x); i += 4 {
		s0, s1, s2, s3 = s0+x[i]*w[i], s1+x[i+1]*w[i+1], s2+x[i+2]*w[i+2], s3+x[i+3]*w[i+3]
	}
	for ; i < len(x); i++ {
		s0 += x[i] * w[i]
	}
	return s0 + s1 + s2 + s3
}

func halvesGo(dst []float32, src []byte) {
	src = src[:2*len(dst)]
	for i := range dst {
		dst[i] = F16ToF32(binary.LittleEndian.Uint16(src[2*i:]))
	}
}

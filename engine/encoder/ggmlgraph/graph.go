// Package ggmlgraph has what graphs of transformers have in common on ggml's devices: products that are as exact as the arithmetic asks for, layers,
// norms, and views of rows. Shapes are ggml's, the innermost dimension first: activations of n rows are [width, n].
package ggmlgraph

import "github.com/larkstream/larkstream/engine/native/ggml"

// Graph writes operations on tensors down.
type Graph struct {
	*ggml.Context
	Arithmetic
}

// Arithmetic is how products are computed.
type Arithmetic struct {
	// Split says that the device rounds operands to halves or TF32, and that results must be better than that, so that products take operands apart.
	Split bool
	// Rounded says that products with weights need not be better than bfloat16.
	Rounded bool
}

// Norm and Linear are weights on the device. Matrices are [in, out], rows of the transposed matrix.
type (
	Norm   struct{ Weight, Bias ggml.Tensor }
	Linear struct{ Weight, Bias ggml.Tensor }
)

// FloatBytes is the size of a float32.
const FloatBytes = 4

// The low part of a split operand is scaled up by splitScale, 2¹¹, so that it is as large as the high part and loses nothing to the short
// exponents of half precision.
const splitScale = 2048

// takeApart gives high + low/splitScale = x to 22 bits: high is a half, and of low as many bits count.
func (g *Graph) takeApart(x ggml.Tensor) (high, low ggml.Tensor) {
	high = g.Cast(g.Cast(x, ggml.F16), ggml.F32)
	return high, g.Scale(g.Sub(x, high), splitScale)
}

// Product is x·w for weights w [in, out] and activations x [in, n]. Devices round float32 operands to half precision or TF32, 11 bits,
// before they multiply; the weights lose nothing by it, for they are halves. Activations are taken apart into two operands that lose
// nothing either, so that the result is as exact as one in float32. Where bfloat16 is enough they are not.
func (g *Graph) Product(w, x ggml.Tensor) ggml.Tensor {
	if !g.Split || g.Rounded {
		return g.multiply(w, x)
	}
	high, low := g.takeApart(x)
	return g.Add(g.multiply(w, high), g.Scale(g.multiply(w, low), 1.0/splitScale))
}

// multiply is a product summed in float32.
func (g *Graph) multiply(a, b ggml.Tensor) ggml.Tensor {
	t := g.MulMat(a, b)
	t.Accumulate32()
	return t
}

// ProductOf is Product for two activations; the product of the low parts is below what float32 holds.
func (g *Graph) ProductOf(a, b ggml.Tensor) ggml.Tensor {
	if !g.Split {
		return g.multiply(a, b)
	}
	aHigh, aLow := g.takeApart(a)
	bHigh, bLow := g.takeApart(b)
	low := g.Add(g.multiply(aHigh, bLow), g.multiply(aLow, bHigh))
	return g.Add(g.multiply(aHigh, bHigh), g.Scale(low, 1.0/splitScale))
}

// Linear is x·w + b.
func (g *Graph) Linear(w Linear, x ggml.Tensor) ggml.Tensor {
	return g.Add(g.Product(w.Weight, x), w.Bias)
}

// Standardised is the layer norm of each row.
func (g *Graph) Standardised(n Norm, x ggml.Tensor, epsilon float32) ggml.Tensor {
	return g.Add(g.Mul(g.Norm(x, epsilon), n.Weight), n.Bias)
}

// Rows is n rows of a flat tensor of float32, from the row first on.
func (g *Graph) Rows(t ggml.Tensor, width, first, n int) ggml.Tensor {
	return g.View(t, []int64{int64(width), int64(n)}, nil, int64(first)*int64(FloatBytes*width))
}

// Join puts parts [width, n] one behind the other.
func (g *Graph) Join(parts []ggml.Tensor) ggml.Tensor {
	if len(parts) == 1 {
		return parts[0]
	}
	half := len(parts) / 2
	return g.Concat(g.Join(parts[:half]), g.Join(parts[half:]), 1)
}

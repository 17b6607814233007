package tensor

import (
	"math"
	"sync"
)

// Softmax turns x into exp(x)/Σexp(x) in place, subtracting the maximum first so that large values do not overflow.
func Softmax(x []float32) {
	if len(x) == 0 {
		return
	}
	Scale(x, 1/Exponentials(x))
}

// Exponentials turns x into exp(x - max(x)) in place and returns their sum: a softmax whose division is left to the caller.
func Exponentials(x []float32) float32 {
	kr := active()
	return kr.expSum(x, kr.greatest(x))
}

// Scale multiplies x by a number.
func Scale(x []float32, by float32) { active().scale(x, by) }

// sum adds in four independent chains, which the processor can overlap.
func sum(x []float32) float32 {
	var s0, s1, s2, s3 float32
	for ; len(x) >= 4; x = x[4:] {
		s0, s1, s2, s3 = s0+x[0], s1+x[1], s2+x[2], s3+x[3]
	}
	for _, v := range x {
		s0 += v
	}
	return s0 + s1 + s2 + s3
}

// RMSNorm sets each row of dst[rows, len(weight)] to x / sqrt(mean(x²) + eps) · weight (Zhang and Sennrich,
// arXiv:1910.07467). dst may be x.
func RMSNorm(dst, x, weight []float32, rows int, eps float32) {
	width := len(weight)
	for r := range rows {
		in, out := x[r*width:][:width], dst[r*width:][:width]
		var sum float64
		for _, v := range in {
			sum += float64(v) * float64(v)
		}
		scale := float32(1 / math.Sqrt(sum/float64(width)+float64(eps)))
		for i, v := range in {
			out[i] = v * scale * weight[i]
		}
	}
}

// LayerNorm sets each row of dst[rows, len(weight)] to (x - mean) / sqrt(var + eps) · weight + bias (arXiv:1607.06450).
// dst may be x.
func LayerNorm(dst, x, weight, bias []float32, rows int, eps float32) {
	width := len(weight)
	for r := range rows {
		in, out := x[r*width:][:width], dst[r*width:][:width]
		kr := active()
		mean := kr.deviations(in, 0) / float64(width)
		squares := kr.squares(in, mean)
		scale := float32(1 / math.Sqrt(squares/float64(width)+float64(eps)))
		kr.standardise(out, in, weight, bias, float32(mean), scale)
	}
}

// standardiseGo sets dst to (x - mean)·scale·weight + bias.
func standardiseGo(dst, x, weight, bias []float32, mean, scale float32) {
	dst, weight, bias = dst[:len(x)], weight[:len(x)], bias[:len(x)]
	for i, v := range x {
		dst[i] = (v-mean)*scale*weight[i] + bias[i]
	}
}

// deviationsGo sums x - mean in four independent chains, which the processor can overlap.
func deviationsGo(x []float32, mean float64) float64 {
	var s0, s1, s2, s3 float64
	for ; len(x) >= 4; x = x[4:] {
		s0, s1, s2, s3 = s0+(float64(x[0])-mean), s1+(float64(x[1])-mean), s2+(float64(x[2])-mean), s3+(float64(x[3])-mean)
	}
	for _, v := range x {
		s0 += float64(v) - mean
	}
	return s0 + s1 + s2 + s3
}

// squaresGo sums the squares of x - mean in the same way.
func squaresGo(x []float32, mean float64) float64 {
	var s0, s1, s2, s3 float64
	for ; len(x) >= 4; x = x[4:] {
		d0, d1, d2, d3 := float64(x[0])-mean, float64(x[1])-mean, float64(x[2])-mean, float64(x[3])-mean
		s0, s1, s2, s3 = s0+d0*d0, s1+d1*d1, s2+d2*d2, s3+d3*d3
	}
	for _, v := range x {
		s0 += (float64(v) - mean) * (float64(v) - mean)
	}
	return s0 + s1 + s2 + s3
}

// SiLU sets x to x · sigmoid(x) in place (arXiv:1702.03118).
func SiLU(x []float32) { active().swish(x, -1) }

// GELUTanh sets x to the tanh approximation of GELU in place: 0.5·x·(1 + tanh(u)) with u = √(2/π)·(x + 0.044715·x³), which
// equals x · sigmoid(2u).
func GELUTanh(x []float32) {
	root := float32(2 * math.Sqrt(2/math.Pi))
	gate(x, func(v float32) float32 { return root * (v + 0.044715*v*v*v) })
}

// QuickGELU sets x to x · sigmoid(1.702·x) in place, the fast approximation of GELU (arXiv:1606.08415, section 2).
func QuickGELU(x []float32) { active().swish(x, -1.702) }

// swishGo divides x by 1 + e^(slope·x).
func swishGo(x []float32, slope float32) {
	for i, v := range x {
		x[i] = v / (1 + float32(math.Exp(float64(slope*v))))
	}
}

// gate multiplies each value of x by sigmoid(of(x)).
func gate(x []float32, of func(float32) float32) {
	const piece = 1024
	buf := borrow(min(piece, len(x)))
	defer giveBack(buf)
	for ; len(x) > 0; x = x[min(piece, len(x)):] {
		part := x[:min(piece, len(x))]
		e := buf.v[:len(part)]
		for i, v := range part {
			e[i] = -of(v)
		}
		active().exp(e)
		for i := range part {
			part[i] /= 1 + e[i]
		}
	}
}

// GELU sets x to x · Φ(x) in place, by the error function, not the tanh approximation (arXiv:1606.08415).
func GELU(x []float32) {
	for i, v := range x {
		x[i] = float32(0.5 * float64(v) * (1 + math.Erf(float64(v)/math.Sqrt2)))
	}
}

// The table of GELUTable has Φ and its derivative at every 1/geluSteps between -geluEnd and geluEnd, where Φ is 0 or 1 to float32's last bit.
const (
	geluSteps = 256
	geluEnd   = 6
)

// geluTable holds pairs. The first is zero, so that the product with what lies below the table is.
var geluTable = sync.OnceValue(func() []float32 {
	t := make([]float32, 2, 2*(2*geluEnd*geluSteps+1))
	for i := 1; i <= 2*geluEnd*geluSteps; i++ {
		x := float64(i)/geluSteps - geluEnd
		t = append(t, float32(0.5*(1+math.Erf(x/math.Sqrt2))), float32(math.Exp(-x*x/2)/math.Sqrt(2*math.Pi)))
	}
	return t
})

// GELUTable is GELU by a table and Taylor's formula to the second order: Φ is off by 2e-9 and float32's rounding, at a tenth of the time of the
// error function.
func GELUTable(x []float32) { active().gelu(x) }

func geluGo(x []float32) {
	table := geluTable()
	for i, v := range x {
		if !(v > -geluEnd && v < geluEnd) {
			x[i] = max(v, 0) // NaN stays NaN
			continue
		}
		n := int(v*geluSteps + geluEnd*geluSteps + 0.5)
		at := float32(n)*(1.0/geluSteps) - geluEnd
		d, e := v-at, table[2*n:2*n+2:2*n+2]
		x[i] = v * (e[0] + d*e[1]*(1-0.5*at*d))
	}
}

// ReLU sets negative elements of x to zero in place; NaN stays NaN.
func ReLU(x []float32) {
	for i, v := range x {
		x[i] = max(v, 0) // without a branch, which signals mispredict half of the time
	}
}

// Add adds x to dst, element by element.
func Add(dst, x []float32) { active().add(dst, x) }

func addGo(dst, x []float32) {
	x = x[:len(dst)]
	for i, v := range x {
		dst[i] += v
	}
}

// Mul multiplies dst by x, element by element.
func Mul(dst, x []float32) {
	x = x[:len(dst)]
	for i, v := range x {
		dst[i] *= v
	}
}

// AddBias adds bias to each row of dst[rows, len(bias)].
func AddBias(dst, bias []float32, rows int) {
	for r := range rows {
		Add(dst[r*len(bias):][:len(bias)], bias)
	}
}

// Finite reports whether every element is neither NaN nor infinite.
func Finite(x []float32) bool {
	for _, v := range x {
		if v-v != 0 {
			return false
		}
	}
	return true
}

// WeightedRows adds Σ weights[i] · rows[i] to dst, for rows of len(dst) that lie one after another.
func WeightedRows(dst, weights, rows []float32) { active().weigh(dst, weights, rows) }

package tensor

import "math"

// Softmax turns x into exp(x)/Σexp(x) in place, subtracting the maximum first so that large values do not overflow.
func Softmax(x []float32) {
	if len(x) == 0 {
		return
	}
	high := x[0]
	for _, v := range x[1:] {
		high = max(high, v)
	}
	var sum float32
	for i, v := range x {
		e := float32(math.Exp(float64(v - high)))
		x[i] = e
		sum += e
	}
	for i := range x {
		x[i] /= sum
	}
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
		var sum, squares float64
		for _, v := range in {
			sum += float64(v)
		}
		mean := sum / float64(width)
		for _, v := range in {
			squares += (float64(v) - mean) * (float64(v) - mean)
		}
		scale := float32(1 / math.Sqrt(squares/float64(width)+float64(eps)))
		for i, v := range in {
			out[i] = (v-float32(mean))*scale*weight[i] + bias[i]
		}
	}
}

// SiLU sets x to x · sigmoid(x) in place (arXiv:1702.03118).
func SiLU(x []float32) {
	for i, v := range x {
		x[i] = v / (1 + float32(math.Exp(-float64(v))))
	}
}

// GELU sets x to x · Φ(x) in place, by the error function, not the tanh approximation (arXiv:1606.08415).
func GELU(x []float32) {
	for i, v := range x {
		x[i] = float32(0.5 * float64(v) * (1 + math.Erf(float64(v)/math.Sqrt2)))
	}
}

// ReLU sets negative elements of x to zero in place; NaN stays NaN.
func ReLU(x []float32) {
	for i, v := range x {
		if v < 0 {
			x[i] = 0
		}
	}
}

// Add adds x to dst, element by element.
func Add(dst, x []float32) {
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
func WeightedRows(dst, weights, rows []float32) {
	width := len(dst)
	i := 0
	for ; i+4 <= len(weights); i += 4 {
		r := rows[i*width:]
		r0, r1, r2, r3 := r[:width], r[width:][:width], r[2*width:][:width], r[3*width:][:width]
		w0, w1, w2, w3 := weights[i], weights[i+1], weights[i+2], weights[i+3]
		for j := range dst {
			dst[j] += w0*r0[j] + w1*r1[j] + w2*r2[j] + w3*r3[j]
		}
	}
	for ; i < len(weights); i++ {
		for j, v := range rows[i*width:][:width] {
			dst[j] += weights[i] * v
		}
	}
}

// GELUTanh sets x to the tanh approximation of GELU in place: 0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³))).
func GELUTanh(x []float32) {
	for i, v := range x {
		f := float64(v)
		x[i] = float32(0.5 * f * (1 + math.Tanh(math.Sqrt(2/math.Pi)*(f+0.044715*f*f*f))))
	}
}

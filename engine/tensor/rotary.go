package tensor

import "math"

// Rotary holds the angles of rotary position embeddings (arXiv:2104.09864) in the half-split layout of Hugging Face's
// Llama: element i of a head is rotated with element i + headWidth/2 by pos · base^(-2i/headWidth).
type Rotary struct {
	half     int
	cos, sin []float32 // [positions, half]
}

// NewRotary prepares the angles of positions 0 to positions-1. headWidth must be even.
func NewRotary(headWidth, positions int, base float64) *Rotary {
	half := headWidth / 2
	r := &Rotary{half: half, cos: make([]float32, positions*half), sin: make([]float32, positions*half)}
	for p := range positions {
		for i := range half {
			angle := float64(p) * math.Pow(base, -2*float64(i)/float64(headWidth))
			sin, cos := math.Sincos(angle)
			r.cos[p*half+i], r.sin[p*half+i] = float32(cos), float32(sin)
		}
	}
	return r
}

// Apply rotates every head of x, a row of heads of the width given to NewRotary, to position pos.
func (r *Rotary) Apply(x []float32, pos int) {
	cos, sin := r.cos[pos*r.half:][:r.half], r.sin[pos*r.half:][:r.half]
	for ; len(x) > 0; x = x[2*r.half:] {
		low, high := x[:r.half], x[r.half:][:r.half]
		for i, c := range cos {
			a, b := low[i], high[i]
			low[i], high[i] = a*c-b*sin[i], b*c+a*sin[i]
		}
	}
}

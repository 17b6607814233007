package projector

import (
	"math"

	"github.com/larkstream/larkstream/engine/tensor"
)

// The rotary time embedding of Music Flamingo (modeling_musicflamingo.py of transformers 5.24.0): a fifth of a frame's values turns by the number
// of its window, the next fifth by its number in the window. No file holds these constants.
const (
	longestS   = 1200 // base of the frequencies, and the time at which positions are 1
	turning    = 0.2  // part of the values that turns, for each of the two
	windowS    = 30
	frameStepS = 0.04
)

// rotary holds the frequencies.
type rotary struct{ frequencies []float32 }

func newRotary(width int) *rotary {
	turned := int(turning * float64(width))
	r := &rotary{frequencies: make([]float32, turned/2)}
	for j := range r.frequencies {
		r.frequencies[j] = float32(1 / float64(float32(math.Pow(longestS, float64(float32(2*j)/float32(turned))))))
	}
	return r
}

// apply gives the frames of window w rotated. Angles reach 30,000 at 20 minutes, so that their rounding to float32 counts: they are computed as the
// reference computes them, in float32 and in its order. The conversions forbid fused multiply-add.
func (r *rotary) apply(e tensor.Matrix, w int) tensor.Matrix {
	out := tensor.Matrix{Rows: e.Rows, Cols: e.Cols, Data: append([]float32(nil), e.Data...)}
	for t := range e.Rows {
		seconds := float32(float32(windowS*w) + float32(float32(t)*float32(frameStepS)))
		angle := float32(float32(-seconds*2) * float32(math.Pi))
		row := out.Data[t*e.Cols:][:e.Cols]
		byWindow := float32(w) / longestS
		byFrame := float32(float32(t) / longestS * float32(2*math.Pi))
		for j, f := range r.frequencies {
			turn(row[2*j:], float32(float32(byWindow*f)*angle))
			turn(row[2*(len(r.frequencies)+j):], float32(float32(byFrame*f)*angle))
		}
	}
	return out
}

// turn rotates two neighbouring values.
func turn(x []float32, angle float32) {
	sin, cos := math.Sincos(float64(angle))
	u, v := float64(x[0]), float64(x[1])
	x[0], x[1] = float32(u*cos-v*sin), float32(v*cos+u*sin)
}

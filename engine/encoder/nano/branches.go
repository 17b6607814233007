package nano

import (
	"context"
	"math"
	"slices"

	"github.com/larkstream/larkstream/engine/encoder/features"
	"github.com/larkstream/larkstream/engine/tensor"
)

func scaleSemitones(m features.Matrix) features.Matrix {
	out := features.NewMatrix(m.Rows, m.Cols)
	for i, v := range m.Data {
		out.Data[i] = (v - 1) / 0.9
	}
	return out
}

func scaleMel(m features.Matrix) features.Matrix {
	out := features.NewMatrix(m.Rows, m.Cols)
	for r := range m.Rows {
		in, row := m.Row(r), out.Row(r)
		for c := range features.MelBands {
			row[c] = (in[c] - 1.25) / 1.1
		}
		for c := features.MelBands; c < features.MelCols; c++ {
			row[c] = (in[c] - 0.1) / 0.15
		}
	}
	return out
}

// taps returns [ceil(rows/stride), count*cols]: each row beside its neighbours, zero beyond the ends.
func taps(x features.Matrix, count, stride int) features.Matrix {
	out := features.NewMatrix((x.Rows+stride-1)/stride, count*x.Cols)
	for r := range out.Rows {
		for k := range count {
			if from := r*stride + k - count/2; from >= 0 && from < x.Rows {
				copy(out.Row(r)[k*x.Cols:], x.Row(from))
			}
		}
	}
	return out
}

// meanMax returns the mean over rows of each column, then the maximum of each column.
func meanMax(x features.Matrix) []float32 {
	out := make([]float32, 2*x.Cols)
	mean, high := out[:x.Cols], out[x.Cols:]
	copy(high, x.Row(0))
	for r := range x.Rows {
		for c, v := range x.Row(r) {
			mean[c] += v
			high[c] = max(high[c], v)
		}
	}
	for c := range mean {
		mean[c] /= float32(x.Rows)
	}
	return out
}

// timbre returns frames [T, 192] and the pooled vector [128].
func (e *Encoder) timbre(semitones, mel features.Matrix) (local features.Matrix, pooled []float32) {
	rows := semitones.Rows
	both := features.NewMatrix(rows, timbreIn)
	for r := range rows {
		copy(both.Row(r), semitones.Row(r))
		copy(both.Row(r)[features.Semitones:], mel.Row(r))
	}
	u := e.layers["timbre.conv"].activate(taps(both, 3, 1).Data, rows)
	v := e.layers["timbre.hidden"].activate(u, rows)
	tensor.Add(v, u)
	local = features.Matrix{Rows: rows, Cols: timbreWidth, Data: v}
	return local, e.layers["timbre.pool"].activate(meanMax(local), 1)
}

// steps averages groups of four rows; the last group may be shorter.
func steps(x features.Matrix) features.Matrix {
	out := features.NewMatrix((x.Rows+stepFrames-1)/stepFrames, x.Cols)
	for r := range out.Rows {
		first, last := r*stepFrames, min((r+1)*stepFrames, x.Rows)
		for i := first; i < last; i++ {
			for c, v := range x.Row(i) {
				out.Row(r)[c] += v / float32(last-first)
			}
		}
	}
	return out
}

// harmony returns chord probabilities [R, 36], and the 24 key logits followed by their softmax. What engine/mir hears of the keys is read beside what is seen.
func (e *Encoder) harmony(semitones, heard features.Matrix) (chords features.Matrix, keys []float32) {
	h := steps(semitones)
	// Rows are (step, pitch class): what the class sees at the step before, at the step and after it.
	view := features.NewMatrix(h.Rows*pitchClasses, 3*seen)
	for r := range h.Rows {
		for c := range pitchClasses {
			for k := range 3 {
				if from := r + k - 1; from >= 0 && from < h.Rows {
					copy(view.Row(r*pitchClasses + c)[k*seen:(k+1)*seen], h.Row(from)[c:])
				}
			}
		}
	}
	a := e.layers["harmony.conv"].activate(view.Data, view.Rows)
	chords = features.Matrix{Rows: h.Rows, Cols: pitchClasses * qualities, Data: e.layers["harmony.chord"].apply(a, view.Rows)}
	for r := range chords.Rows {
		tensor.Softmax(chords.Row(r))
	}
	b := e.layers["harmony.hidden"].activate(a, view.Rows)
	// As [R, 12*64], the mean and the maximum over steps are per pitch class; they are joined class by class.
	pooled := meanMax(features.Matrix{Rows: h.Rows, Cols: pitchClasses * harmonyWidth, Data: b})
	joined := make([]float32, 0, len(pooled))
	for c := range pitchClasses {
		mean := pooled[c*harmonyWidth:][:harmonyWidth]
		high := pooled[(pitchClasses+c)*harmonyWidth:][:harmonyWidth]
		joined = append(append(joined, mean...), high...)
		if e.hearing {
			joined = append(joined, heard.Row(c)...)
		}
	}
	q := e.layers["harmony.pool"].activate(joined, pitchClasses)
	logits := e.layers["harmony.key"].apply(q, pitchClasses)
	probabilities := slices.Clone(logits)
	tensor.Softmax(probabilities)
	return chords, append(logits, probabilities...)
}

// highest returns the maximum of groups of four rows; the last group may be shorter.
func highest(x features.Matrix) features.Matrix {
	out := features.NewMatrix((x.Rows+stepFrames-1)/stepFrames, x.Cols)
	for r := range out.Rows {
		copy(out.Row(r), x.Row(r*stepFrames))
		for i := r*stepFrames + 1; i < min((r+1)*stepFrames, x.Rows); i++ {
			for c, v := range x.Row(i) {
				out.Row(r)[c] = max(out.Row(r)[c], v)
			}
		}
	}
	return out
}

// colour returns rows [R, 96] and a pooled vector [96]: what lies above a tone, read by the same weights wherever the tone lies.
func (e *Encoder) colour(ctx context.Context, semitones features.Matrix) (rows features.Matrix, pooled []float32, err error) {
	mean, high := steps(semitones), highest(semitones)
	joined, view := features.NewMatrix(mean.Rows, 2*colourWidth), features.NewMatrix(places, 2*reach)
	for r := range mean.Rows {
		if err := ctx.Err(); err != nil {
			return rows, nil, err
		}
		for c := range places {
			copy(view.Row(c), mean.Row(r)[c:c+reach])
			copy(view.Row(c)[reach:], high.Row(r)[c:c+reach])
		}
		a := e.layers["colour.hidden"].activate(e.layers["colour.conv"].activate(view.Data, places), places)
		copy(joined.Row(r), meanMax(features.Matrix{Rows: places, Cols: colourWidth, Data: a}))
	}
	rows = features.Matrix{Rows: mean.Rows, Cols: tintWidth, Data: e.layers["colour.row"].activate(joined.Data, joined.Rows)}
	return rows, e.layers["colour.pool"].activate(meanMax(rows), 1), nil
}

// families returns the probability of each instrument family at each step [R, 12], and logits [12] that it is there at all.
func (e *Encoder) families(rows, local features.Matrix, pooled, tint []float32) (active features.Matrix, there []float32) {
	slow := steps(local)
	joined := features.NewMatrix(rows.Rows, rows.Cols+slow.Cols)
	for r := range rows.Rows {
		copy(joined.Row(r), rows.Row(r))
		copy(joined.Row(r)[rows.Cols:], slow.Row(r))
	}
	active = features.Matrix{Rows: rows.Rows, Cols: families, Data: e.layers["family.active"].apply(joined.Data, joined.Rows)}
	for i, v := range active.Data {
		active.Data[i] = float32(1 / (1 + math.Exp(-float64(v))))
	}
	return active, e.layers["family.pool"].apply(slices.Concat(pooled, tint, meanMax(active)), 1)
}

// rhythm returns the rhythm vector [192].
func (e *Encoder) rhythm(tempograms features.Matrix) []float32 {
	count := tempograms.Rows / features.Lags
	mean := make([]float32, rhythmRows*rhythmWidth2)
	for g := range count {
		x := features.NewMatrix(features.Lags, features.Groups)
		for i := range x.Data {
			x.Data[i] = lagGain * tempograms.Data[g*len(x.Data)+i]
		}
		first := e.layers["rhythm.conv1"].activate(taps(x, 7, 1).Data, features.Lags)
		second := taps(features.Matrix{Rows: features.Lags, Cols: rhythmWidth1, Data: first}, 7, 2)
		for i, v := range e.layers["rhythm.conv2"].activate(second.Data, second.Rows) {
			mean[i] += v / float32(count)
		}
	}
	return e.layers["rhythm.dense"].activate(mean, 1)
}

// ratios are the lags that are looked at from each beat, in beats: parts of a beat, beats, bars, two bars.
var ratios = [...]float64{1.0 / 4, 1.0 / 3, 1.0 / 2, 2.0 / 3, 1, 3.0 / 2, 2, 5.0 / 2, 3, 7.0 / 2, 4, 5, 6, 7, 8}

// pulse returns the probabilities of each beat, and then of each metre [65+6]. The same weights read the pulse from every beat, at lags in proportion to it.
// heard is what engine/mir hears of a beat at each lag.
func (e *Encoder) pulse(x features.Matrix, heard, rhythm, pooled []float32) []float32 {
	at := func(row, column int) float32 {
		if row < 0 || row >= x.Rows {
			return 0
		}
		return lagGain * x.Row(row)[column]
	}
	view := features.NewMatrix(beats, e.layers["pulse.seen"].in)
	for i, ratio := range ratios {
		away := int(math.RoundToEven(features.LagsPerOctave * math.Log2(ratio)))
		for b := range beats {
			row, part := firstBeat+b+away, view.Row(b)[2*i*x.Cols:]
			for c := range x.Cols {
				part[c] = at(row, c)
				part[x.Cols+c] = max(at(row-1, c), at(row, c), at(row+1, c)) // lags are rounded to rows
			}
			if e.hearing && row >= 0 && row < len(heard) {
				view.Row(b)[2*len(ratios)*x.Cols+i] = lagGain * heard[row]
			}
		}
	}
	a := e.layers["pulse.seen"].apply(view.Data, beats)
	tensor.AddBias(a, e.layers["pulse.context"].apply(slices.Concat(rhythm, pooled), 1), beats)
	tensor.GELU(a)
	joint := e.layers["pulse.joint"].apply(e.layers["pulse.hidden"].activate(a, beats), beats)
	for i := range joint {
		joint[i] += e.beatBias[i/metres]
	}
	tensor.Softmax(joint)
	out := make([]float32, beats+metres)
	for i, p := range joint {
		out[i/metres] += p
		out[beats+i%metres] += p
	}
	return out
}

// mix joins what each frame holds, and what its step holds (slow), with what the whole window holds.
func (e *Encoder) mix(local features.Matrix, slow []features.Matrix, global []float32, rows int) []float32 {
	joined := features.NewMatrix(rows, e.layers["mix.local"].in)
	for r := range rows {
		at := copy(joined.Row(r), local.Row(r))
		for _, m := range slow {
			at += copy(joined.Row(r)[at:], m.Row(r/stepFrames))
		}
	}
	x := e.layers["mix.local"].apply(joined.Data, rows)
	tensor.AddBias(x, e.layers["mix.spread"].apply(e.layers["mix.global"].activate(global, 1), 1), rows)
	y := make([]float32, len(x))
	tensor.RMSNorm(y, x, e.norm, rows, normEps)
	y = e.layers["mix.down"].apply(e.layers["mix.up"].activate(y, rows), rows)
	tensor.Add(y, x)
	tensor.RMSNorm(y, y, e.out, rows, normEps)
	return y
}

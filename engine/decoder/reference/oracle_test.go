package reference

import (
	"math"

	"github.com/larkstream/larkstream/engine/model"
)

// oracle computes the logits after every position of a text, in float64, without cache or batch, straight from the formulas.
// x is [n][Hidden].
func oracle(w *weights, x [][]float64) [][]float64 {
	for _, l := range w.layers {
		attended := make([][]float64, len(x))
		var keys, values [][]float64
		for i, row := range x {
			qkv := apply(l.qkv, rms(row, l.attnNorm, w.NormEps), w.Hidden+2*w.kv)
			turn(qkv[:w.Hidden+w.kv], i, w.LLM)
			keys, values = append(keys, qkv[w.Hidden:][:w.kv]), append(values, qkv[w.Hidden+w.kv:])
			attended[i] = attend(w, qkv[:w.Hidden], keys, values)
		}
		for i, row := range x {
			add(row, apply(l.out, attended[i], w.Hidden))
			both := apply(l.gateUp, rms(row, l.ffnNorm, w.NormEps), 2*w.FFN)
			act := make([]float64, w.FFN)
			for j := range act {
				act[j] = both[j] / (1 + math.Exp(-both[j])) * both[w.FFN+j]
			}
			add(row, apply(l.down, act, w.Hidden))
		}
	}
	var logits [][]float64
	for _, row := range x {
		logits = append(logits, apply(w.output, rms(row, w.norm, w.NormEps), w.Vocab))
	}
	return logits
}

// attend lets one position see those up to itself.
func attend(w *weights, q []float64, keys, values [][]float64) []float64 {
	out := make([]float64, w.Hidden)
	for h := range w.Heads {
		g := h * w.KVHeads / w.Heads
		scores := make([]float64, len(keys))
		sum := 0.0
		for i, k := range keys {
			for j := range w.head {
				scores[i] += q[h*w.head+j] * k[g*w.head+j]
			}
			scores[i] = math.Exp(scores[i] / math.Sqrt(float64(w.head)))
			sum += scores[i]
		}
		for i, v := range values {
			for j := range w.head {
				out[h*w.head+j] += scores[i] / sum * v[g*w.head+j]
			}
		}
	}
	return out
}

// turn rotates element i of each head with element i + half.
func turn(heads []float64, pos int, l model.LLM) {
	width := l.Hidden / l.Heads
	for at := 0; at < len(heads); at += width {
		for i := range width / 2 {
			sin, cos := math.Sincos(float64(pos) / math.Pow(l.RopeBase, float64(2*i)/float64(width)))
			a, b := heads[at+i], heads[at+i+width/2]
			heads[at+i], heads[at+i+width/2] = a*cos-b*sin, b*cos+a*sin
		}
	}
}

func apply(matrix []float32, x []float64, rows int) []float64 {
	out := make([]float64, rows)
	for i := range out {
		for j, v := range x {
			out[i] += float64(matrix[i*len(x)+j]) * v
		}
	}
	return out
}

func rms(x []float64, weight []float32, eps float64) []float64 {
	sum := 0.0
	for _, v := range x {
		sum += v * v
	}
	out := make([]float64, len(x))
	for i, v := range x {
		out[i] = v / math.Sqrt(sum/float64(len(x))+eps) * float64(weight[i])
	}
	return out
}

func add(dst, x []float64) {
	for i, v := range x {
		dst[i] += v
	}
}

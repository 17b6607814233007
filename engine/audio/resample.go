package audio

import "math"

// Parameters of the resampling filter: a windowed sinc with zeroCrossings on each side and a Kaiser
// window. With beta 10 the stop-band lies 100 dB down; the transition band is the upper tenth below the lower
// of the two Nyquist frequencies (Kaiser's formula: (A - 8) / (2.285 N), N = 128 taps).
const (
	zeroCrossings = 64
	kaiserBeta    = 10.0
	rolloff       = 0.95
	// maxTaps bounds the table of phases. Every usual rate has a phase for each position that occurs; for others the
	// nearest earlier of at least 235 is taken, an error of time under 1/235 of a sample that does not add up.
	maxTaps = 1 << 19
)

// resampler changes the rate of a mono stream by up/down with a polyphase filter of linear phase and no delay: output n
// is the input's value at time n*down/up. The arithmetic is plain float32 in a fixed order, without fused
// multiply-add, so that every machine makes the same samples.
type resampler struct {
	up, down int
	half     int         // taps on each side of the centre
	phases   [][]float32 // [at most up][2*half], each summing to 1
	buf      []float32   // input samples still needed, the first at position base
	base     int64
	in       int64 // samples taken in
	n        int64 // samples put out
	out      []float32
}

// newResampler returns nil if the rates are equal.
func newResampler(from, to int) *resampler {
	if from == to {
		return nil
	}
	common := gcd(from, to)
	up, down := to/common, from/common
	scale := min(1, float64(up)/float64(down)) // of the cut-off, relative to the input's Nyquist frequency
	r := &resampler{up: up, down: down, half: int(math.Ceil(zeroCrossings / scale))}
	r.phases = make([][]float32, min(up, maxTaps/(2*r.half)))
	for p := range r.phases {
		r.phases[p] = kernel(float64(p)/float64(len(r.phases)), r.half, scale)
	}
	r.buf = make([]float32, r.half-1) // silence before the start
	r.base = -int64(r.half - 1)
	return r
}

// kernel samples the filter at the taps around a point that lies frac after the centre tap.
func kernel(frac float64, half int, scale float64) []float32 {
	taps := make([]float64, 2*half)
	sum := 0.0 // dividing by it also removes the window's own factor, 1/bessel0(kaiserBeta)
	for k := range taps {
		t := float64(k-half+1) - frac
		taps[k] = sinc(t*scale*rolloff) * kaiser(t*scale/zeroCrossings)
		sum += taps[k]
	}
	out := make([]float32, len(taps))
	for k, v := range taps {
		out[k] = float32(v / sum)
	}
	return out
}

func sinc(x float64) float64 {
	if x == 0 {
		return 1
	}
	return math.Sin(math.Pi*x) / (math.Pi * x)
}

// kaiser is the Kaiser window at x in [-1, 1] up to a factor, 0 outside.
func kaiser(x float64) float64 {
	if x < -1 || x > 1 {
		return 0
	}
	return bessel0(kaiserBeta * math.Sqrt(1-x*x))
}

// bessel0 is the modified Bessel function of order zero by its power series (Abramowitz and Stegun 9.6.12).
func bessel0(x float64) float64 {
	sum, term := 1.0, 1.0
	for k := 1.0; term > sum*1e-17; k++ {
		term *= x * x / (4 * k * k)
		sum += term
	}
	return sum
}

func gcd(a, b int) int {
	for b != 0 {
		a, b = b, a%b
	}
	return a
}

// process takes samples in and returns those that can be made so far, valid until the next call.
func (r *resampler) process(x []float32) []float32 {
	r.in += int64(len(x))
	r.buf = append(r.buf, x...)
	return r.produce(math.MaxInt64)
}

// flush returns the rest: the input is followed by silence, and the whole output has outputs(in) samples.
func (r *resampler) flush() []float32 {
	r.buf = append(r.buf, make([]float32, 2*r.half)...)
	return r.produce(r.outputs(r.in))
}

// outputs is the number of samples that in samples become.
func (r *resampler) outputs(in int64) int64 {
	return (2*in*int64(r.up) + int64(r.down)) / (2 * int64(r.down))
}

func (r *resampler) produce(total int64) []float32 {
	r.out = r.out[:0]
	for ; r.n < total; r.n++ {
		at := r.n * int64(r.down)
		first := at/int64(r.up) - int64(r.half) + 1 - r.base
		if first+int64(2*r.half) > int64(len(r.buf)) {
			break
		}
		phase := at % int64(r.up) * int64(len(r.phases)) / int64(r.up)
		r.out = append(r.out, dot(r.phases[phase], r.buf[first:first+int64(2*r.half)]))
	}
	r.drop()
	return r.out
}

// drop forgets the input before the first tap of the next output.
func (r *resampler) drop() {
	first := r.n*int64(r.down)/int64(r.up) - int64(r.half) + 1 - r.base
	first = min(first, int64(len(r.buf)))
	if first <= 0 {
		return
	}
	r.buf = r.buf[:copy(r.buf, r.buf[first:])]
	r.base += first
}

// dot is the inner product in four interleaved sums. The conversions forbid fused multiply-add (Go
// specification, "Floating-point operators").
func dot(a, b []float32) float32 {
	var s0, s1, s2, s3 float32
	b = b[:len(a)]
	i := 0
	for ; i+4 <= len(a); i += 4 {
		s0 += float32(a[i] * b[i])
		s1 += float32(a[i+1] * b[i+1])
		s2 += float32(a[i+2] * b[i+2])
		s3 += float32(a[i+3] * b[i+3])
	}
	for ; i < len(a); i++ {
		s0 += float32(a[i] * b[i])
	}
	return (s0 + s1) + (s2 + s3)
}

// Resample gives mono PCM of the sample rate from at the sample rate to, both in Hz; PCM of that rate comes back as it is.
func Resample(pcm []int16, from, to int) []int16 {
	r := newResampler(from, to)
	if r == nil {
		return pcm
	}
	x := make([]float32, len(pcm))
	for i, v := range pcm {
		x[i] = float32(v) / (1 << 15)
	}
	out := make([]int16, 0, r.outputs(int64(len(pcm))))
	for _, part := range [][]float32{r.process(x), nil} {
		if part == nil {
			part = r.flush()
		}
		for _, v := range part {
			out = append(out, toInt16(v))
		}
	}
	return out
}

package mir

import "math"

// Loudness of the mono mix as it is, in the units of EBU R 128 (2020). DualMono gives it as two loudspeakers play it.
type Loudness struct {
	// Integrated loudness in LUFS (ITU-R BS.1770-4: blocks of 400 ms every 100 ms, gated at -70 LUFS and 10 LU below the mean of
	// what is left). Silence is -Inf, written as null in JSON.
	Integrated float64
	// Range is the loudness range in LU (EBU Tech 3342: the 10th to the 95th percentile of 3 s blocks gated at -70 LUFS and 20 LU below their mean).
	Range float64
	// Momentary and ShortTerm are the highest loudness of 400 ms and of 3 s, in LUFS (EBU Tech 3341), -Inf without a whole block that is not silent.
	Momentary, ShortTerm float64
}

// dualMonoLU is what a second loudspeaker adds: twice the power.
const dualMonoLU = 3.0103

// DualMono is the loudness of the same signal in both channels of a stereo file, which is 3.01 LU more. Of a stereo recording's mono mix it is
// the recording's loudness where both channels are alike, and up to 3 LU less where they are unlike.
func (l Loudness) DualMono() Loudness {
	return Loudness{l.Integrated + dualMonoLU, l.Range, l.Momentary + dualMonoLU, l.ShortTerm + dualMonoLU}
}

// Parameters of the two filters of ITU-R BS.1770-4 as analogue prototypes, so that they fit any sampling rate. They were fitted to the standard's
// coefficients at 48 kHz (libebur128, ebur128_init_filter; B. De Man, "Evaluation of implementations of the EBU R128 loudness measurement", AES 145, 2018).
const (
	shelfHz, shelfGain, shelfQ = 1681.974450955533, 3.999843853973347, 0.7071752369554196
	passHz, passQ              = 38.13547087602444, 0.5003270373238773
	loudnessOffset             = -0.691
	absoluteGate               = -70.0
)

// biquad is a filter of second order in transposed direct form II.
type biquad struct{ b0, b1, b2, a1, a2, s1, s2 float64 }

func (q *biquad) next(x float64) float64 {
	y := q.b0*x + q.s1
	q.s1 = q.b1*x - q.a1*y + q.s2
	q.s2 = q.b2*x - q.a2*y
	return y
}

// shelf is the pre-filter of BS.1770, figure 2: the head's effect on high sounds.
func shelf(rate float64) biquad {
	k := math.Tan(math.Pi * shelfHz / rate)
	high := math.Pow(10, shelfGain/20)
	mid := math.Pow(high, 0.4996667741545416)
	a0 := 1 + k/shelfQ + k*k
	return biquad{
		b0: (high + mid*k/shelfQ + k*k) / a0, b1: 2 * (k*k - high) / a0, b2: (high - mid*k/shelfQ + k*k) / a0,
		a1: 2 * (k*k - 1) / a0, a2: (1 - k/shelfQ + k*k) / a0,
	}
}

// highPass is the RLB weighting of BS.1770, figure 4.
func highPass(rate float64) biquad {
	k := math.Tan(math.Pi * passHz / rate)
	a0 := 1 + k/passQ + k*k
	return biquad{b0: 1, b1: -2, b2: 1, a1: 2 * (k*k - 1) / a0, a2: (1 - k/passQ + k*k) / a0}
}

// loudnessMeter measures a stream in constant memory: blocks are counted in histograms of a tenth of an LU, which also keep the sum of their powers, so
// that only blocks within a tenth of a gate can fall on its wrong side.
type loudnessMeter struct {
	shelf, pass biquad
	power       float64 // of the 100 ms in hand
	samples     int
	recent      []float64 // powers of the last 30 steps of 100 ms
	momentary   histogram
	shortTerm   histogram
	steps       int
}

const (
	stepSamples    = SampleRate / 10
	momentarySteps = 4
	shortTermSteps = 30
)

func newLoudnessMeter() *loudnessMeter {
	return &loudnessMeter{shelf: shelf(SampleRate), pass: highPass(SampleRate)}
}

// process takes samples in [-1, 1].
func (m *loudnessMeter) process(x []float64) {
	for _, v := range x {
		y := m.pass.next(m.shelf.next(v))
		m.power += y * y
		if m.samples++; m.samples == stepSamples {
			m.step(m.power / stepSamples)
			m.power, m.samples = 0, 0
		}
	}
}

func (m *loudnessMeter) step(power float64) {
	if len(m.recent) == shortTermSteps {
		m.recent = m.recent[:copy(m.recent, m.recent[1:])]
	}
	m.recent = append(m.recent, power)
	m.steps++
	if m.steps >= momentarySteps {
		m.momentary.add(mean(m.recent[len(m.recent)-momentarySteps:]))
	}
	if m.steps >= shortTermSteps {
		m.shortTerm.add(mean(m.recent))
	}
}

// result is the loudness so far. A signal below 400 ms has none.
func (m *loudnessMeter) result() Loudness {
	out := Loudness{Momentary: lufs(m.momentary.most), ShortTerm: lufs(m.shortTerm.most)}
	out.Integrated = lufs(m.momentary.mean(lufs(m.momentary.mean(absoluteGate)) - 10))
	out.Range = m.shortTerm.spread(lufs(m.shortTerm.mean(absoluteGate))-20, 0.10, 0.95)
	return out
}

func lufs(power float64) float64 { return loudnessOffset + 10*math.Log10(power) }

const (
	binsPerLU     = 10
	histogramBins = (10 - absoluteGate) * binsPerLU // as far as +10 LUFS, which full scale cannot reach
)

// histogram counts blocks above the absolute gate by loudness.
type histogram struct {
	count [histogramBins]int64
	power [histogramBins]float64
	most  float64
}

func (h *histogram) add(power float64) {
	h.most = max(h.most, power)
	l := lufs(power)
	if !(l >= absoluteGate) {
		return
	}
	i := min(int((l-absoluteGate)*binsPerLU), histogramBins-1)
	h.count[i]++
	h.power[i] += power
}

// from is the first bin at or above a gate.
func (h *histogram) from(gate float64) int {
	if math.IsInf(gate, -1) {
		return 0
	}
	return min(max(0, int(math.Round((gate-absoluteGate)*binsPerLU))), histogramBins)
}

// mean is the mean power of the blocks above a gate, 0 without any.
func (h *histogram) mean(gate float64) float64 {
	var n int64
	sum := 0.0
	for i := h.from(gate); i < histogramBins; i++ {
		n += h.count[i]
		sum += h.power[i]
	}
	if n == 0 {
		return 0
	}
	return sum / float64(n)
}

// spread is the distance in LU between two quantiles of the blocks above a gate, 0 without any.
func (h *histogram) spread(gate, low, high float64) float64 {
	var n int64
	first := h.from(gate)
	for _, c := range h.count[first:] {
		n += c
	}
	if n == 0 {
		return 0
	}
	quantile := func(q float64) float64 {
		want := int64(math.Round(q * float64(n-1)))
		for i := first; ; i++ {
			if want -= h.count[i]; want < 0 {
				return lufs(h.power[i] / float64(h.count[i]))
			}
		}
	}
	return quantile(high) - quantile(low)
}

func mean(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

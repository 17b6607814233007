package mir

import "math"

// Metre is how beats group into bars.
type Metre struct {
	// Name is "2/4", "3/4", "4/4" or "6/8"; "" where nothing beats. In 6/8 the beat is the dotted quarter.
	Name string
	// Beats of a bar.
	Beats int
	// Confidence is the probability of this metre, as the judge sees it.
	Confidence float64
}

var metres = [...]Metre{{Name: "2/4", Beats: 2}, {Name: "3/4", Beats: 3}, {Name: "4/4", Beats: 4}, {Name: "6/8", Beats: 2}}

// accents are what may mark a bar's first beat, one value per beat: onset in the bass, onset, and change of harmony. Each has a mean of 0 and a variance of 1.
type accents struct{ low, all, change []float64 }

func accentsOf(beats []int, on onsets, chroma [][12]float64) accents {
	a := accents{make([]float64, len(beats)), make([]float64, len(beats)), make([]float64, len(beats))}
	for i, b := range beats {
		for t := max(0, b-3); t < min(len(on.all), b+4); t++ {
			a.low[i], a.all[i] = max(a.low[i], on.low[t]), max(a.all[i], on.all[t])
		}
		if i > 0 {
			a.change[i] = 1 - cosine(chroma[i-1][:], chroma[i][:])
		}
	}
	for _, x := range [][]float64{a.low, a.all, a.change} {
		standardise(x)
	}
	return a
}

func standardise(x []float64) {
	m, power := mean(x), 1e-9
	for _, v := range x {
		power += (v - m) * (v - m)
	}
	scale := 1 / math.Sqrt(power/float64(max(1, len(x))))
	for i := range x {
		x[i] = (x[i] - m) * scale
	}
}

func cosine(a, b []float64) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab += a[i] * b[i]
		aa += a[i] * a[i]
		bb += b[i] * b[i]
	}
	if aa == 0 || bb == 0 {
		return 1
	}
	return ab / math.Sqrt(aa*bb)
}

// combined is how much each beat is like a first beat.
func (a accents) combined() []float64 {
	out := make([]float64, len(a.all))
	for i := range out {
		out[i] = 0.4*a.low[i] + 0.2*a.all[i] + 0.6*a.change[i]
	}
	return out
}

// slip is what it costs to leave the count of a bar.
const slip = 8.0

// positions counts each beat within its bar, from 0, by the Viterbi path on which first beats have the highest accents; and tells by how much they have.
func positions(accent []float64, beats int) (at []int, contrast float64) {
	if len(accent) == 0 {
		return nil, 0
	}
	best := make([]float64, beats)
	from := make([][]int, len(accent))
	for i, a := range accent {
		likeliest, _ := top(best)
		next := make([]float64, beats)
		from[i] = make([]int, beats)
		for p := range next {
			before := (p + beats - 1) % beats
			next[p], from[i][p] = best[before], before
			if v := best[likeliest] - slip; v > next[p] {
				next[p], from[i][p] = v, likeliest
			}
			if p == 0 {
				next[p] += a
			} else {
				next[p] -= a / float64(beats-1)
			}
		}
		best = next
	}
	at = make([]int, len(accent))
	p, _ := top(best)
	contrast = best[p] / float64(len(accent)) * float64(beats) / 2
	for i := len(at) - 1; i >= 0; i-- {
		at[i] = p
		p = from[i][p]
	}
	return at, contrast
}

const (
	metreLags = 8
	metreCues = 3*metreLags + 3*4 + 8
)

// subdivisions of the beat at which the onsets' autocorrelation is read: duple ones and triple ones.
var subdivisions = [...]float64{0.25, 1.0 / 3, 0.5, 2.0 / 3, 0.75, 1.0 / 6}

// cues of the metre: how the accents repeat after one to eight beats, how much bars of two, three and four stand out, and how the beat is divided.
func (a accents) cues(ac []float64, bpm float64) []float64 {
	out := make([]float64, 0, metreCues)
	for _, x := range [][]float64{a.low, a.all, a.change} {
		for lag := 1; lag <= metreLags; lag++ {
			sum := 0.0
			for i := lag; i < len(x); i++ {
				sum += x[i] * x[i-lag]
			}
			out = append(out, sum/float64(max(1, len(x)-lag)))
		}
	}
	for _, x := range [][]float64{a.low, a.all, a.change, a.combined()} {
		for _, beats := range []int{2, 3, 4} {
			_, contrast := positions(x, beats)
			out = append(out, contrast)
		}
	}
	period := framesPerSecond * 60 / bpm
	for _, m := range subdivisions {
		out = append(out, at(ac, period*m))
	}
	x := math.Log2(bpm / 120)
	return append(out, x, x*x)
}

// metreOf judges beats by their cues.
func metreOf(cues []float64) Metre {
	scores := make([]float64, len(metres))
	for i := range scores {
		scores[i] = metreBias[i] + dot(cues, metreWeights[i][:])
	}
	p := softmax(scores)
	best, _ := top(p)
	m := metres[best]
	m.Confidence = p[best]
	return m
}

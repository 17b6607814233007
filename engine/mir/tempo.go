package mir

import (
	"math"
	"slices"
)

// Tempo of the beat that a listener taps.
type Tempo struct {
	// BPM in beats per minute, 0 where nothing was heard to beat.
	BPM float64
	// Confidence is the probability that BPM is right within 4 %, as the judge of the tempogram sees it.
	Confidence float64
	// Steady says that there is a pulse and that its rate stays within SteadyWithin. If false, BPM is only the best guess.
	Steady bool
	// Pulse is how much of the onsets' variation repeats with the beat, 0 to 1.
	Pulse float64
	// Low and High are the lowest and the highest local tempo, in BPM.
	Low, High float64
	// Alternatives are readings at other rates: always half and double, then others, by falling confidence.
	Alternatives []TempoReading
}

// TempoReading is another reading of the tempo.
type TempoReading struct {
	BPM, Confidence float64
}

// SteadyWithin is the largest ratio of the highest to the lowest local tempo that counts as steady.
const SteadyWithin = 1.12

// leastPulse is the pulse below which there is none: between those of noise and speech and those of music.
const leastPulse = 0.12

// near is how many points of the grid around a tempo belong to it: 4 %.
const near = 4

// tempogram is what the windows of a section say about its tempo.
type tempogram struct {
	places [][2]int
	scores [][]float64 // of each window, [tempo]
	mean   [][]float64 // mean cues over the windows, [tempo][cue]
	ac     []float64   // mean autocorrelation of all onsets
}

func newTempogram(on onsets) tempogram {
	g := tempogram{places: windows(len(on.all)), mean: matrix(gridSize, cueCount)}
	r, rows := newRhythm(), matrix(gridSize, cueCount)
	g.ac = make([]float64, len(r.ac))
	share := 1 / float64(len(g.places))
	for _, w := range g.places {
		r.cues(on, w, rows)
		for i, row := range rows {
			for c, v := range row {
				g.mean[i][c] += v * share
			}
		}
		for i, v := range r.first {
			g.ac[i] += v * share
		}
		g.scores = append(g.scores, judged(rows))
	}
	return g
}

func matrix(rows, columns int) [][]float64 {
	data, out := make([]float64, rows*columns), make([][]float64, rows)
	for i := range out {
		out[i] = data[i*columns : (i+1)*columns]
	}
	return out
}

// beatCue is the cue that tells how much of the onsets repeats after one beat.
const beatCue = 5

// empty is taken from the score of a tempo at which next to nothing repeats, a twentieth of the most that does: three beats to a slow click.
const empty = 6

// judged returns the score of each tempo of the grid from its cues.
func judged(rows [][]float64) []float64 {
	scores, most := make([]float64, gridSize), 0.0
	for _, row := range rows {
		most = max(most, row[beatCue])
	}
	for i, row := range rows {
		scores[i] = dot(row, tempoWeights[:])
		if row[beatCue] < most/20 {
			scores[i] -= empty
		}
	}
	return scores
}

// posterior is the probability of each tempo of the grid.
func (g tempogram) posterior() []float64 { return softmax(judged(g.mean)) }

// mass is the probability within 4 % of a place on the grid.
func mass(p []float64, i int) float64 {
	sum := 0.0
	for k := max(0, i-near); k <= min(len(p)-1, i+near); k++ {
		sum += p[k]
	}
	return sum
}

func gridIndex(bpm float64) int { return int(math.Round(math.Log(bpm/lowestBPM) / gridStep)) }

// jumpPenalty is what a change of 1 % from one window to the next costs, in units of the judge's score; a change of octave is worth none.
const jumpPenalty = 0.25

// path is the most likely tempo of each window: the Viterbi path through the windows' scores, as in Klapuri, Eronen and Astola (IEEE TASLP 2006), with the
// whole section's judgement as the prior.
func (g tempogram) path(prior []float64) []float64 {
	const reach = 12
	best := make([]float64, gridSize)
	for i := range best {
		best[i] = math.Log(prior[i]+1e-9) + g.scores[0][i]
	}
	from := make([][]int, len(g.scores))
	for w := 1; w < len(g.scores); w++ {
		next := make([]float64, gridSize)
		from[w] = make([]int, gridSize)
		for i := range next {
			next[i] = math.Inf(-1)
			for k := max(0, i-reach); k <= min(gridSize-1, i+reach); k++ {
				if v := best[k] - jumpPenalty*math.Abs(float64(i-k)); v > next[i] {
					next[i], from[w][i] = v, k
				}
			}
			next[i] += g.scores[w][i] + math.Log(prior[i]+1e-9)/float64(len(g.scores))
		}
		best = next
	}
	out := make([]float64, len(g.scores))
	i, _ := top(best)
	for w := len(out) - 1; w >= 0; w-- {
		out[w] = gridBPM(i)
		if w > 0 {
			i = from[w][i]
		}
	}
	return out
}

// tempoOf judges a section. Local is the tempo of each window.
func tempoOf(g tempogram) (t Tempo, local []float64) {
	p := g.posterior()
	masses := make([]float64, len(p))
	for i := range p {
		masses[i] = mass(p, i)
	}
	best, _ := top(masses)
	local = g.path(p)
	t.BPM, t.Confidence = median(local), masses[best]
	t.Low, t.High = slices.Min(local), slices.Max(local)
	t.Alternatives = alternatives(masses, gridIndex(t.BPM))
	t.Pulse = max(0, at(g.ac, framesPerSecond*60/t.BPM))
	return t, local
}

// alternatives are half and double the tempo and the best two other maxima of the posterior.
func alternatives(masses []float64, i int) []TempoReading {
	octave := int(math.Round(math.Ln2 / gridStep))
	var out []TempoReading
	for _, k := range []int{i - octave, i + octave} {
		r := TempoReading{BPM: gridBPM(k)}
		if k >= 0 && k < len(masses) {
			r.Confidence = masses[k]
		}
		out = append(out, r)
	}
	taken := []int{i, i - octave, i + octave}
	for range 2 {
		best := -1
		for k, v := range masses {
			if !closeTo(taken, k) && (best < 0 || v > masses[best]) {
				best = k
			}
		}
		if best >= 0 && masses[best] > 0.02 {
			out = append(out, TempoReading{gridBPM(best), masses[best]})
			taken = append(taken, best)
		}
	}
	slices.SortStableFunc(out, func(a, b TempoReading) int {
		switch {
		case a.Confidence > b.Confidence:
			return -1
		case a.Confidence < b.Confidence:
			return 1
		}
		return 0
	})
	return out
}

func closeTo(taken []int, k int) bool {
	return slices.ContainsFunc(taken, func(t int) bool { return k-t <= 2*near && t-k <= 2*near })
}

func median(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(x))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

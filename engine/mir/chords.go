package mir

import "math"

// Chord is a major or minor triad, or none.
type Chord struct {
	// Root is the pitch class, C = 0, or -1 for no chord.
	Root int
	// Minor says that the third is minor.
	Minor bool
}

// NoChord is where no triad was heard.
var NoChord = Chord{Root: -1}

const (
	chordStates = 25 // 12 major, 12 minor, none
	// stay is the logarithm of how much likelier a chord is to go on than to give way to a certain other.
	stay = 2.5
	// sharpness turns correlations into logarithms of likelihoods.
	sharpness = 10
	// noChordScore is the correlation that "no chord" counts as.
	noChordScore = 0.25
)

func chordOf(state int) Chord {
	if state == chordStates-1 {
		return NoChord
	}
	return Chord{state % 12, state >= 12}
}

// chordTemplate is a triad as chromaOf shows it: root and fifth a little stronger than the third.
func chordTemplate(state int) [12]float64 {
	var out [12]float64
	third := 4
	if state >= 12 {
		third = 3
	}
	out[state%12], out[(state+third)%12], out[(state+7)%12] = 1, 0.8, 0.9
	return out
}

var chordTemplates = func() (out [chordStates - 1][12]float64) {
	for s := range out {
		out[s] = chordTemplate(s)
	}
	return out
}()

// chordPath is the most likely chord of each chroma: correlation with templates, smoothed by a hidden Markov model that likes chords to stay
// (Sheh and Ellis, ISMIR 2003; Bello and Pickens, ISMIR 2005). It returns states, 0 to 11 major, 12 to 23 minor, 24 none.
func chordPath(chroma [][12]float64) []int {
	if len(chroma) == 0 {
		return nil
	}
	var best [chordStates]float64
	from := make([][chordStates]int, len(chroma))
	for t, c := range chroma {
		likeliest, _ := top(best[:])
		var next [chordStates]float64
		for s := range next {
			score := noChordScore
			if s < chordStates-1 {
				score = correlation(c[:], chordTemplates[s][:])
			}
			from[t][s] = s
			next[s] = best[s]
			if v := best[likeliest] - stay; v > best[s] {
				next[s], from[t][s] = v, likeliest
			}
			next[s] += sharpness * score
		}
		best = next
	}
	out := make([]int, len(chroma))
	s, _ := top(best[:])
	for t := len(out) - 1; t >= 0; t-- {
		out[t] = s
		s = from[t][s]
	}
	return out
}

// correlation is Pearson's; 0 where one side is constant.
func correlation(a, b []float64) float64 {
	ma, mb := mean(a), mean(b)
	var ab, aa, bb float64
	for i := range a {
		x, y := a[i]-ma, b[i]-mb
		ab += x * y
		aa += x * x
		bb += y * y
	}
	if aa == 0 || bb == 0 {
		return 0
	}
	return ab / math.Sqrt(aa*bb)
}

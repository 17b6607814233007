package mir

import (
	"math"
)

// Key of a piece, as far as major and minor go.
type Key struct {
	// Tonic is the pitch class, C = 0.
	Tonic int
	Minor bool
	// Confidence is the probability of this key, as the judge sees it.
	Confidence float64
}

// pitchNames spell the tonics as they are mostly written; those of minor keys differ.
var (
	majorNames = [12]string{"C", "Db", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B"}
	minorNames = [12]string{"C", "C#", "D", "Eb", "E", "F", "F#", "G", "G#", "A", "Bb", "B"}
)

// String is the key's name, as "Eb minor".
func (k Key) String() string {
	if k.Minor {
		return minorNames[k.Tonic] + " minor"
	}
	return majorNames[k.Tonic] + " major"
}

// String is the chord's name, as "F#m", "C" or "N".
func (c Chord) String() string {
	switch {
	case c.Root < 0:
		return "N"
	case c.Minor:
		return minorNames[c.Root] + "m"
	}
	return majorNames[c.Root]
}

// Profiles of major and minor keys that the notes of a piece are compared with, tonic first.
var profiles = [...][2][12]float64{
	{ // Krumhansl and Kessler 1982, ratings by listeners
		{6.35, 2.23, 3.48, 2.33, 4.38, 4.09, 2.52, 5.19, 2.39, 3.66, 2.29, 2.88},
		{6.33, 2.68, 3.52, 5.38, 2.60, 3.53, 2.54, 4.75, 3.98, 2.69, 3.34, 3.17},
	},
	{ // Temperley, Music and Probability, 2007, counts in the Kostka-Payne corpus
		{0.748, 0.060, 0.488, 0.082, 0.670, 0.460, 0.096, 0.715, 0.104, 0.366, 0.057, 0.400},
		{0.712, 0.084, 0.474, 0.618, 0.049, 0.460, 0.105, 0.747, 0.404, 0.067, 0.133, 0.330},
	},
	{ // bgate, Faraldo, Jordà and Herrera, ECIR 2016, electronic dance music
		{1.00, 0.00, 0.42, 0.00, 0.53, 0.37, 0.00, 0.77, 0.00, 0.38, 0.21, 0.30},
		{1.00, 0.00, 0.36, 0.39, 0.00, 0.38, 0.00, 0.74, 0.27, 0.00, 0.42, 0.23},
	},
}

// harmony is what the judge of the key hears of a piece, or of many sections of one.
type harmony struct {
	chroma, bass [12]float64
	chords       [chordStates]float64 // seconds
}

// keyCues is the number of cues per key: correlations with the profiles, the notes from the tonic up, the bass notes, and the share of the time of each
// of the 24 chords from the tonic up. The first chord is none: it says more of a collection's habits than of the key.
const keyCues = len(profiles) + 12 + 12 + 24

// cues of one key, tonic 0 to 11 and mode 0 (major) or 1.
func (h *harmony) cues(tonic, mode int) []float64 {
	out := make([]float64, 0, keyCues)
	chroma, bass := rotated(normal(h.chroma), tonic), rotated(normal(h.bass), tonic)
	for _, p := range profiles {
		out = append(out, correlation(chroma[:], p[mode][:]))
	}
	out = append(out, chroma[:]...)
	out = append(out, bass[:]...)
	total := 1e-9
	for _, v := range h.chords {
		total += v
	}
	for s := range 24 {
		out = append(out, h.chords[chordAbove(s, tonic)]/total)
	}
	return out
}

// chordAbove is the state of chord s (0 to 23) counted from the tonic up.
func chordAbove(s, tonic int) int { return s/12*12 + (s%12+tonic)%12 }

// normal is the square root of a chroma, less its mean, with a norm of 1: loud notes must not drown the others.
func normal(c [12]float64) [12]float64 {
	m, power := 0.0, 1e-12
	for i, v := range c {
		c[i] = math.Sqrt(v)
		m += c[i] / 12
	}
	for i := range c {
		c[i] -= m
		power += c[i] * c[i]
	}
	for i := range c {
		c[i] /= math.Sqrt(power)
	}
	return c
}

func rotated(c [12]float64, tonic int) (out [12]float64) {
	for i := range out {
		out[i] = c[(i+tonic)%12]
	}
	return out
}

// keys are the two most likely keys. Without any pitch both confidences are 0.
func (h *harmony) keys() (best, second Key) {
	sum := 0.0
	for _, v := range h.chroma {
		sum += v
	}
	if sum == 0 {
		return Key{}, Key{Minor: true}
	}
	p := h.chances()
	a, b := top(p)
	return Key{a % 12, a >= 12, p[a]}, Key{b % 12, b >= 12, p[b]}
}

// chances are the probabilities of the 12 major and the 12 minor keys.
func (h *harmony) chances() []float64 {
	scores := make([]float64, 24)
	for k := range scores {
		mode := k / 12
		scores[k] = keyBias[mode] + dot(h.cues(k%12, mode), keyWeights[mode][:])
	}
	return softmax(scores)
}

package mir

import "math"

// tuningOf is by how many cents the music lies above A4 = 440 Hz, in [-50, 50): the mean direction of the peaks' distances from the equal-tempered
// scale, weighted by magnitude (circular statistics as in Dressler and Streich, "Tuning frequency estimation using circular statistics", ISMIR 2007).
func tuningOf(peaks [][]peak) float64 {
	var re, im float64
	for _, frame := range peaks {
		for _, p := range frame {
			a := 2 * math.Pi * float64(p.cents) / 100
			w := float64(p.magnitude)
			re += w * math.Cos(a)
			im += w * math.Sin(a)
		}
	}
	if re == 0 && im == 0 {
		return 0
	}
	return math.Atan2(im, re) / (2 * math.Pi) * 100
}

const harmonics = 6

// chromaOf is the strength of the twelve pitch classes in one frame, C first. Each peak counts for the note it is, and less for
// notes whose harmonic it could be (Gómez, Tonal Description of Music Audio Signals, 2006, section 3.4).
func chromaOf(frame []peak, tuning float64) [12]float64 {
	var out [12]float64
	for _, p := range frame {
		m := math.Sqrt(float64(p.magnitude))
		weight := 1.0
		for h := 1; h <= harmonics; h++ {
			semis := (float64(p.cents) - tuning) / 100
			semis -= 12 * math.Log2(float64(h))
			add(&out, semis, m*weight)
			weight *= 0.6
		}
	}
	return out
}

// add spreads a weight over the pitch classes around a place in semitones above A with a cosine window of a semitone to each side.
func add(out *[12]float64, semis, weight float64) {
	place := semis + 9
	below := math.Floor(place)
	f := place - below
	c := math.Cos(math.Pi / 2 * f)
	i := ((int(below) % 12) + 12) % 12
	out[i] += weight * c * c
	out[(i+1)%12] += weight * (1 - c*c)
}

// highestBassHz is up to where a peak counts as bass.
const highestBassHz = 200

// chromagram is the chroma of each frame and the pitch classes of its bass.
func chromagram(peaks [][]peak, tuning float64) (chroma, bass [][12]float64) {
	chroma, bass = make([][12]float64, len(peaks)), make([][12]float64, len(peaks))
	limit := float32(1200 * math.Log2(highestBassHz/referenceHz))
	for t, frame := range peaks {
		chroma[t] = chromaOf(frame, tuning)
		for _, p := range frame {
			if p.cents > limit {
				break
			}
			add(&bass[t], (float64(p.cents)-tuning)/100, float64(p.magnitude))
		}
	}
	return chroma, bass
}

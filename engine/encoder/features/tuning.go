package features

import "math"

const (
	tuningLowestHz  = 150.0
	tuningHighestHz = 2500.0
	tuningFloor     = 0.05 // of the frame's largest magnitude: what is below is no partial
	tuningQuietest  = 1e-4 // of a sine of full scale
	tuningAgreement = 0.12 // partials that agree less than this have no common tuning
)

// tuning gathers how far the partials of a window lie beside the semitones of A = 440 Hz. Each spectral peak votes with its magnitude for an
// angle, a semitone being a full turn (the circular mean of Dressler and Streich, "Tuning frequency estimation using circular statistics", 2007).
type tuning struct {
	cos, sin, weight float64
}

// add hears the peaks of a magnitude spectrum of semitoneFFT samples.
func (t *tuning) add(magnitude []float64) {
	perBin := float64(halfRate) / semitoneFFT
	first, last := int(tuningLowestHz/perBin), int(tuningHighestHz/perBin)
	high := 0.0
	for _, m := range magnitude[first : last+1] {
		high = max(high, m)
	}
	floor := max(tuningFloor*high, tuningQuietest)
	for i := first; i <= last; i++ {
		m := magnitude[i]
		if m < floor || m <= magnitude[i-1] || m < magnitude[i+1] {
			continue
		}
		// The peak of a parabola through the logarithms lies within a twentieth of a bin of the partial.
		before, at, after := math.Log(magnitude[i-1]+1e-12), math.Log(m), math.Log(magnitude[i+1]+1e-12)
		shift := 0.5 * (before - after) / (before - 2*at + after - 1e-12)
		turn := 2 * math.Pi * 12 * math.Log2((float64(i)+shift)*perBin/440)
		t.cos, t.sin, t.weight = t.cos+m*math.Cos(turn), t.sin+m*math.Sin(turn), t.weight+m
	}
}

// semitones returns the tuning, -0.5 to 0.5 semitones; 0 where the partials do not agree on one.
func (t *tuning) semitones() float64 {
	if t.weight == 0 || math.Hypot(t.cos, t.sin) < tuningAgreement*t.weight {
		return 0
	}
	return math.Atan2(t.sin, t.cos) / (2 * math.Pi)
}

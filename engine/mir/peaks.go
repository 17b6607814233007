package mir

import (
	"math"
	"slices"
)

// Shapes of the spectra that pitch is read from.
const (
	pitchRate = SampleRate / 4
	pitchFFT  = 4096 // 0.37 s
	pitchHop  = 1024 // 93 ms
	// pitchesPerSecond is the rate of everything harmonic: peaks, chroma.
	pitchesPerSecond = float64(pitchRate) / pitchHop
	lowestPeakHz     = 50
	highestPeakHz    = 4000
	// mostPeaks are kept of a frame, the strongest.
	mostPeaks = 48
	// referenceHz is A4; cents are counted from it.
	referenceHz = 440
	// quietestPeak, below the strongest peak of its frame, in decibels.
	quietestPeak = 60
)

// peak is a maximum of a magnitude spectrum.
type peak struct {
	// cents above 440 Hz.
	cents     float32
	magnitude float32
}

// peaksOf returns the peaks of a spectrum, at most mostPeaks, by rising frequency. Frequency and magnitude are those of the parabola through the
// logarithms of three bins (Smith and Serra, PARSHL, 1987, section 3).
func peaksOf(magnitude []float64, out []peak) []peak {
	perBin := float64(pitchRate) / pitchFFT
	first, last := int(lowestPeakHz/perBin), min(int(highestPeakHz/perBin), len(magnitude)-2)
	floor := slices.Max(magnitude[first:last+1]) * math.Pow(10, -quietestPeak/20.0)
	floor = max(floor, 1e-6)
	out = out[:0]
	for i := first; i <= last; i++ {
		v := magnitude[i]
		if v < floor || v < magnitude[i-1] || v <= magnitude[i+1] {
			continue
		}
		a, b, c := math.Log(magnitude[i-1]+1e-12), math.Log(v), math.Log(magnitude[i+1]+1e-12)
		shift := 0.0
		if d := a - 2*b + c; d < 0 {
			shift = 0.5 * (a - c) / d
		}
		hz := (float64(i) + shift) * perBin
		out = append(out, peak{
			cents:     float32(1200 * math.Log2(hz/referenceHz)),
			magnitude: float32(math.Exp(b - 0.25*(a-c)*shift)),
		})
	}
	if len(out) > mostPeaks {
		slices.SortFunc(out, func(a, b peak) int { return cmpFloat(b.magnitude, a.magnitude) })
		out = out[:mostPeaks]
		slices.SortFunc(out, func(a, b peak) int { return cmpFloat(a.cents, b.cents) })
	}
	return out
}

func cmpFloat(a, b float32) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

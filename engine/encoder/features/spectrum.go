package features

import "math"

// halfBand holds the odd taps 1, 3, 5, ... of a half-band low-pass (Hann-windowed sinc); the centre tap is 0.5, the other even taps are 0.
var halfBand = func() [12]float64 {
	var taps [12]float64
	sum := 0.25
	for i := range taps {
		n := float64(2*i + 1)
		taps[i] = math.Sin(math.Pi*n/2) / (math.Pi * n) * (0.5 + 0.5*math.Cos(math.Pi*n/float64(2*len(taps)+1)))
		sum += taps[i]
	}
	for i := range taps {
		taps[i] *= 0.25 / (sum - 0.25)
	}
	return taps
}()

// offset returns the mean of the samples if it is so far from 0 that the level itself, not the sound, would decide the peak; else 0.
func offset(pcm []int16) float64 {
	sum := 0
	for _, s := range pcm {
		sum += int(s)
	}
	mean := float64(sum) / float64(max(1, len(pcm)))
	if math.Abs(mean) < largeOffset {
		return 0
	}
	return mean
}

// scale returns the factor that brings the peak around the level to 0.9, or 0 for silence. Around another level than 0, silence is told by the
// mean square: where such a file begins and ends, its resampling leaves clicks.
func scale(pcm []int16, level float64) float64 {
	peak, square := 0.0, 0.0
	for _, s := range pcm {
		v := float64(s) - level
		peak, square = max(peak, v, -v), square+v*v
	}
	if peak < silencePeak || level != 0 && math.Sqrt(square/float64(len(pcm))) < silencePeak {
		return 0
	}
	return targetPeak / peak
}

// halve returns every second sample of the low-passed audio around the level, times factor.
func halve(pcm []int16, level, factor float64) []float64 {
	out := make([]float64, len(pcm)/2)
	if factor == 0 {
		return out
	}
	reach := 2*len(halfBand) - 1
	padded := make([]float64, len(pcm)+2*reach)
	for i, s := range pcm {
		padded[reach+i] = (float64(s) - level) * factor
	}
	for i := range out {
		centre := reach + 2*i
		sum := 0.5 * padded[centre]
		for k, tap := range halfBand {
			sum += tap * (padded[centre-2*k-1] + padded[centre+2*k+1])
		}
		out[i] = sum
	}
	return out
}

// hann returns a Hann window that sums to 2, so that the spectrum of a sine of amplitude 1 peaks at 1.
func hann(n int) []float64 {
	w := make([]float64, n)
	for i := range w {
		w[i] = (1 - math.Cos(2*math.Pi*float64(i)/float64(n))) * 2 / float64(n)
	}
	return w
}

func absolute(spectrum []complex128, out []float64) {
	for i, c := range spectrum {
		out[i] = math.Sqrt(real(c)*real(c) + imag(c)*imag(c))
	}
}

// band is a weighted mean of neighbouring spectrum bins.
type band struct {
	first   int
	weights []float64
}

func (b band) level(magnitude []float64) float32 {
	sum := 0.0
	for i, w := range b.weights {
		sum += w * magnitude[b.first+i]
	}
	return float32(math.Log1p(compression * sum))
}

// triangle returns the band that rises from low to centre and falls to high (Hz); weights sum to 1. Where no bin lies inside, the nearest one is taken.
func triangle(low, centre, high float64, size int) band {
	perBin, b, sum := float64(halfRate)/float64(size), band{}, 0.0
	for i := int(low / perBin); i <= min(size/2, int(high/perBin)+1); i++ {
		f := float64(i) * perBin
		w := min((f-low)/(centre-low), (high-f)/(high-centre))
		if w <= 0 {
			continue
		}
		if len(b.weights) == 0 {
			b.first = i
		}
		b.weights = append(b.weights, w)
		sum += w
	}
	if len(b.weights) == 0 {
		return band{first: int(math.Round(centre / perBin)), weights: []float64{1}}
	}
	for i := range b.weights {
		b.weights[i] /= sum
	}
	return b
}

// semitoneBank spaces bands by semitones, the lowest at F#1 moved by the tuning in semitones.
func semitoneBank(tuned float64) []band {
	bands := make([]band, Semitones)
	hz := func(i int) float64 { return lowestHz * math.Exp2((float64(i)+tuned)/12) }
	for i := range bands {
		bands[i] = triangle(hz(i-1), hz(i), hz(i+1), semitoneFFT)
	}
	return bands
}

// melBank spaces bands evenly on the mel scale 2595 log10(1 + f/700) (O'Shaughnessy 1987).
func melBank() []band {
	mel := func(hz float64) float64 { return 2595 * math.Log10(1+hz/700) }
	low, step := mel(melLowestHz), (mel(melHighestHz)-mel(melLowestHz))/(MelBands+1)
	hz := func(i int) float64 { return 700 * (math.Pow(10, (low+step*float64(i))/2595) - 1) }
	bands := make([]band, MelBands)
	for i := range bands {
		bands[i] = triangle(hz(i), hz(i+1), hz(i+2), melFFT)
	}
	return bands
}

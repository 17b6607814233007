package mir

import "math"

// Shapes of the spectra that rhythm is read from.
const (
	rhythmRate = SampleRate / 2
	rhythmFFT  = 1024 // 46 ms
	rhythmHop  = 220  // 10 ms
	// framesPerSecond is the rate of everything rhythmic: bands, onset strength, beats.
	framesPerSecond = float64(rhythmRate) / rhythmHop
	bandCount       = 40
	lowestBandHz    = 30
	highestBandHz   = 10_500
	// lowBands are the bands of kick drum and bass, below about 200 Hz.
	lowBands = 3
)

// band is a weighted mean of neighbouring bins.
type band struct {
	first   int
	weights []float64
}

func (b band) level(magnitude []float64) float32 {
	sum := 0.0
	for i, w := range b.weights {
		sum += w * magnitude[b.first+i]
	}
	return float32(sum)
}

// melBands spaces triangular bands evenly on the mel scale 2595 log10(1 + f/700) (O'Shaughnessy 1987). A band narrower than a bin
// is the nearest bin.
func melBands() []band {
	mel := func(hz float64) float64 { return 2595 * math.Log10(1+hz/700) }
	low := mel(lowestBandHz)
	step := (mel(highestBandHz) - low) / (bandCount + 1)
	bin := func(i int) float64 {
		return 700 * (math.Pow(10, (low+step*float64(i))/2595) - 1) / rhythmRate * rhythmFFT
	}
	bands := make([]band, bandCount)
	for i := range bands {
		bands[i] = triangle(bin(i), bin(i+1), bin(i+2))
	}
	return bands
}

// triangle rises from bin low to centre and falls to high; the weights sum to 1.
func triangle(low, centre, high float64) band {
	var b band
	sum := 0.0
	for i := int(low); i <= int(high)+1; i++ {
		w := min((float64(i)-low)/(centre-low), (high-float64(i))/(high-centre))
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
		return band{first: int(math.Round(centre)), weights: []float64{1}}
	}
	for i := range b.weights {
		b.weights[i] /= sum
	}
	return b
}

package whisper

import (
	"math"
	"sync"

	"gonum.org/v1/gonum/dsp/fourier"

	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/tensor"
)

// The front end is WhisperFeatureExtractor's of transformers: short-time Fourier transforms of 400 samples, 160 apart, in 128 triangles on
// Slaney's mel scale up to 8 kHz, each of equal area; then logarithms, of which the lowest lie 8 below the highest.
const (
	fftSize = 400
	bins    = fftSize/2 + 1
	mels    = 128
	// floor is the least energy that counts.
	floor = 1e-10
	// depth is how far below the highest value the lowest may lie, in powers of ten.
	depth = 8
)

// band is a triangle of the filter bank: the weights of the bins from first on.
type band struct {
	first   int
	weights []float64
}

// bank holds the triangles, and hann the window of a transform.
var bank = sync.OnceValue(func() [mels]band {
	var edges [mels + 2]float64
	last := toMel(audiobundle.SampleRate / 2)
	for i := range edges {
		edges[i] = toHz(last * float64(i) / (mels + 1))
	}
	var list [mels]band
	for m := range list {
		left, centre, right := edges[m], edges[m+1], edges[m+2]
		for bin := range bins {
			f := float64(bin) * audiobundle.SampleRate / fftSize
			weight := min((f-left)/(centre-left), (right-f)/(right-centre)) * 2 / (right - left)
			if weight <= 0 {
				continue
			}
			if len(list[m].weights) == 0 {
				list[m].first = bin
			}
			list[m].weights = append(list[m].weights, weight)
		}
	}
	return list
})

var hann = sync.OnceValue(func() [fftSize]float64 {
	var w [fftSize]float64
	for i := range w {
		w[i] = 0.5 - 0.5*math.Cos(2*math.Pi*float64(i)/fftSize)
	}
	return w
})

// Slaney's mel scale (Auditory Toolbox, 1998): linear below 1000 Hz, logarithmic above.
const (
	linearHz  = 200.0 / 3
	breakHz   = 1000.0
	breakMel  = breakHz / linearHz
	perOctave = 27 // steps of the factor 6.4
)

func toMel(hz float64) float64 {
	if hz < breakHz {
		return hz / linearHz
	}
	return breakMel + perOctave*math.Log(hz/breakHz)/math.Log(6.4)
}

func toHz(mel float64) float64 {
	if mel < breakMel {
		return mel * linearHz
	}
	return breakHz * math.Pow(6.4, (mel-breakMel)/perOctave)
}

// Mel gives the log-mel spectrogram of samples at 16 kHz within a window of padded samples that is silent behind them, [frames, 128]. There
// are two frames more than the audio has, if the window has them: the last ones that the audio reaches into. The window is mirrored at both
// ends.
func Mel(samples []float32, padded int) tensor.Matrix {
	samples = samples[:min(len(samples), padded)]
	frames := min(Frames(len(samples))+2, padded/audiobundle.Hop)
	out := tensor.Matrix{Rows: frames, Cols: mels, Data: make([]float32, frames*mels)}
	const perItem = 64
	items := (frames + perItem - 1) / perItem
	peaks := make([]float64, items)
	logs := make([]float64, frames*mels)
	tensor.Parallel(items, frames*fftSize*64, func(item int) {
		end := min((item+1)*perItem, frames)
		peaks[item] = logMel(logs[item*perItem*mels:end*mels], item*perItem, samples, padded)
	})
	low := math.Inf(-1)
	for _, p := range peaks {
		low = max(low, p-depth)
	}
	for i, v := range logs {
		out.Data[i] = float32((max(v, low) + 4) / 4)
	}
	return out
}

// logMel sets logs to the logarithms of the energies of the frames from first on, and gives the highest.
func logMel(logs []float64, first int, samples []float32, padded int) float64 {
	fft, window, filters := fourier.NewFFT(fftSize), hann(), bank()
	var x [fftSize]float64
	var spectrum [bins]complex128
	var power [bins]float64
	highest := math.Inf(-1)
	for t := 0; t < len(logs)/mels; t++ {
		begin := (first+t)*audiobundle.Hop - fftSize/2
		for i := range x {
			x[i] = window[i] * sampleAt(samples, begin+i, padded)
		}
		for i, c := range fft.Coefficients(spectrum[:], x[:]) {
			power[i] = real(c)*real(c) + imag(c)*imag(c)
		}
		for m, f := range filters {
			sum := 0.0
			for i, w := range f.weights {
				sum += w * power[f.first+i]
			}
			v := math.Log10(max(sum, floor))
			highest = max(highest, v)
			logs[t*mels+m] = v
		}
	}
	return highest
}

// sampleAt is sample i of the window, which is mirrored at both ends.
func sampleAt(samples []float32, i, padded int) float64 {
	if i < 0 {
		i = -i
	} else if i >= padded {
		i = 2*(padded-1) - i
	}
	if i < 0 || i >= len(samples) {
		return 0
	}
	return float64(samples[i])
}

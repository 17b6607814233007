package mir

import "math"

// The grid of tempi, spaced evenly on a logarithmic scale.
const (
	lowestBPM   = 35.0
	highestBPM  = 250.0
	gridStep    = 0.01 // of the natural logarithm: 1 %
	lagFrames   = 653  // the longest lag: 6.5 s
	rhythmSize  = 2048
	windowSpan  = 1002 // frames: 10 s
	windowShift = 200  // 2 s
)

// gridSize is the number of tempi of the grid.
var gridSize = int(math.Log(highestBPM/lowestBPM)/gridStep) + 1

func gridBPM(i int) float64 { return lowestBPM * math.Exp(gridStep*float64(i)) }

// multiples of the beat's period at which the autocorrelation is read, and divisors at which the spectrum is.
var (
	acMultiples = [...]float64{0.25, 1.0 / 3, 0.5, 2.0 / 3, 0.75, 1, 1.5, 2, 3, 4, 6}
	ftMultiples = [...]float64{0.25, 1.0 / 3, 0.5, 2.0 / 3, 1, 1.5, 2, 3, 4}
)

// cueCount is the number of cues that each tempo of the grid is judged by: autocorrelation and spectrum of every onset strength, and four powers of
// the logarithm of the tempo.
const cueCount = curveCount*(len(acMultiples)+len(ftMultiples)) + 4

// rhythm reads windows of onset strength.
type rhythm struct {
	fft   *fourier
	ac    []float64
	power []float64
	first []float64 // autocorrelation of all onsets
}

func newRhythm() *rhythm {
	return &rhythm{
		fft: newFourier(rhythmSize), ac: make([]float64, lagFrames), power: make([]float64, rhythmSize/2+1), first: make([]float64, lagFrames),
	}
}

// transform reads x, at most windowSpan values: r.ac becomes the autocorrelation of x less its mean, relative to lag 0 (mean products, so that long lags are
// not less), and r.power the magnitude spectrum under a Hann window, relative to the mean square.
func (r *rhythm) transform(x []float64) {
	const tiny = 1e-9
	m, n, energy := mean(x), len(x), tiny
	clear(r.fft.a)
	for i, v := range x { // x and its windowed self in one transform, as real and imaginary part
		w := 1 - math.Cos(2*math.Pi*(float64(i)+0.5)/float64(n))
		r.fft.a[i] = complex(v-m, (v-m)*w)
		energy += (v - m) * (v - m)
	}
	z, scale := r.fft.transform(), 1/math.Sqrt(energy*float64(n))
	products := make([]float64, rhythmSize)
	for k := range z {
		a, b := z[k], z[(rhythmSize-k)%rhythmSize]
		re, im := real(a)+real(b), imag(a)-imag(b) // twice the spectrum of x
		products[k] = (re*re + im*im) / 4
		if k < len(r.power) {
			re, im = imag(a)+imag(b), real(b)-real(a)
			r.power[k] = math.Sqrt(re*re+im*im) / 2 * scale
		}
	}
	for k, v := range products {
		r.fft.a[k] = complex(v, 0)
	}
	z = r.fft.transform() // the power spectrum is even: its transform is its inverse, up to the size
	zero := real(z[0])/float64(n) + tiny
	for lag := range r.ac {
		r.ac[lag] = 0
		if lag < n*9/10 {
			r.ac[lag] = real(z[lag]) / float64(n-lag) / zero
		}
	}
}

// at reads a curve between its points, the highest value within 1 % and at least half a point of the place; 0 beyond its end.
func at(curve []float64, place float64) float64 {
	reach := max(0.5, place*0.01)
	best := 0.0
	for _, p := range [3]float64{place - reach, place, place + reach} {
		i := int(p)
		if i < 0 || i+1 >= len(curve) {
			continue
		}
		f := p - float64(i)
		if v := curve[i]*(1-f) + curve[i+1]*f; v > best || p == place-reach {
			best = v
		}
	}
	return best
}

// cues fills rows[tempo][cue] for one window of the onset strengths.
func (r *rhythm) cues(on onsets, window [2]int, rows [][]float64) {
	col := 0
	for k, x := range on.curves() {
		r.transform(x[window[0]:window[1]])
		if k == 0 {
			copy(r.first, r.ac)
		}
		for i, row := range rows {
			period := framesPerSecond * 60 / gridBPM(i)
			c := col
			for _, m := range acMultiples {
				row[c] = at(r.ac, period*m)
				c++
			}
			for _, m := range ftMultiples {
				row[c] = at(r.power, rhythmSize/(period*m))
				c++
			}
		}
		col += len(acMultiples) + len(ftMultiples)
	}
	for i, row := range rows {
		x := math.Log2(gridBPM(i) / 120)
		row[col], row[col+1], row[col+2], row[col+3] = x, x*x, x*x*x, x*x*x*x
	}
}

// windows are the places of the tempogram's windows over n frames; a short section has one window, the whole of it.
func windows(n int) [][2]int {
	if n <= windowSpan {
		return [][2]int{{0, n}}
	}
	var out [][2]int
	for from := 0; from+windowSpan <= n; from += windowShift {
		out = append(out, [2]int{from, from + windowSpan})
	}
	if last := out[len(out)-1][1]; last < n {
		out = append(out, [2]int{n - windowSpan, n})
	}
	return out
}

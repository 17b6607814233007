package mir

import "math"

const (
	// compression of band levels, relative to the section's mean level, before their logarithm.
	compression = 10
	// fluxLag is how many frames back a rise is measured: 20 ms.
	fluxLag = 2
	// onsetSmoothing is the standard deviation in frames of the Gaussian on the onset strength.
	onsetSmoothing = 1.5
	// localFrames is the reach of the local mean that is taken off, about half a second to each side.
	localFrames = 50
)

// highBands are the first of the bands of cymbals, above about 4 kHz.
const highBands = 28

// onsets are onset strengths per frame, 0 or more: of all bands, of the lowest and of the highest alone, and the change of harmony.
type onsets struct{ all, low, high, change []float64 }

func (o onsets) curves() [curveCount][]float64 { return [...][]float64{o.all, o.low, o.high, o.change} }

const curveCount = 4

// onsetStrength is the spectral flux of SuperFlux (Böck and Widmer, DAFx 2013): the rise of each band's logarithmic level over the highest of itself and its
// neighbours 20 ms before, summed over the bands, so that vibrato makes no onsets. What is left after the local mean is taken off is
// brought to a mean square of 1.
func onsetStrength(bands [][bandCount]float32) onsets {
	logs := compressed(bands)
	on := onsets{all: make([]float64, len(bands)), low: make([]float64, len(bands)), high: make([]float64, len(bands))}
	for t := fluxLag; t < len(logs); t++ {
		now, before := &logs[t], &logs[t-fluxLag]
		for b := range bandCount {
			was := max(before[max(0, b-1)], before[b], before[min(bandCount-1, b+1)])
			rise := float64(max(0, now[b]-was))
			on.all[t] += rise
			switch {
			case b < lowBands:
				on.low[t] += rise
			case b >= highBands:
				on.high[t] += rise
			}
		}
	}
	on.all, on.low, on.high = sharpened(on.all), sharpened(on.low), sharpened(on.high)
	return on
}

// harmonicChange is by how much the chroma differs between the third of a second before each frame and the one after it.
func harmonicChange(chroma [][12]float64, frames int) []float64 {
	const reach = 3
	sums := make([][12]float64, len(chroma)+1)
	for t, c := range chroma {
		for i, v := range c {
			sums[t+1][i] = sums[t][i] + v
		}
	}
	novelty := make([]float64, len(chroma)+1)
	for t := 1; t < len(chroma); t++ {
		var before, after [12]float64
		from, to := max(0, t-reach), min(len(chroma), t+reach)
		for i := range before {
			before[i], after[i] = sums[t][i]-sums[from][i], sums[to][i]-sums[t][i]
		}
		novelty[t] = 1 - cosine(before[:], after[:])
	}
	out := make([]float64, frames)
	for t := range out {
		place := float64(t)/framesPerSecond*pitchesPerSecond + 0.5 // novelty t lies between the chroma frames t-1 and t
		i := int(place)
		if i+1 < len(novelty) {
			out[t] = novelty[i]*(1-place+float64(i)) + novelty[i+1]*(place-float64(i))
		}
	}
	return sharpened(out)
}

func compressed(bands [][bandCount]float32) [][bandCount]float32 {
	sum, n := 0.0, 0
	for i := range bands {
		for _, v := range bands[i] {
			sum += float64(v)
			n++
		}
	}
	logs := make([][bandCount]float32, len(bands))
	if sum == 0 {
		return logs
	}
	scale := compression * float64(n) / sum
	for i := range bands {
		for b, v := range bands[i] {
			logs[i][b] = float32(math.Log1p(scale * float64(v)))
		}
	}
	return logs
}

// sharpened smooths a curve, takes its local mean off, drops what is negative and scales the rest.
func sharpened(x []float64) []float64 {
	x = smooth(x, onsetSmoothing)
	sums := make([]float64, len(x)+1)
	for i, v := range x {
		sums[i+1] = sums[i] + v
	}
	power := 0.0
	for i := range x {
		from, to := max(0, i-localFrames), min(len(x), i+localFrames+1)
		x[i] = max(0, x[i]-(sums[to]-sums[from])/float64(to-from))
		power += x[i] * x[i]
	}
	if power == 0 {
		return x
	}
	scale := 1 / math.Sqrt(power/float64(len(x)))
	for i := range x {
		x[i] *= scale
	}
	return x
}

// smooth returns x under a Gaussian of the given standard deviation in samples.
func smooth(x []float64, deviation float64) []float64 {
	reach := int(math.Ceil(3 * deviation))
	kernel, sum := make([]float64, 2*reach+1), 0.0
	for i := range kernel {
		d := float64(i-reach) / deviation
		kernel[i] = math.Exp(-d * d / 2)
		sum += kernel[i]
	}
	out := make([]float64, len(x))
	for i := range x {
		for k, w := range kernel {
			if j := i + k - reach; j >= 0 && j < len(x) {
				out[i] += w / sum * x[j]
			}
		}
	}
	return out
}

// onsetTimes picks the frames where notes start: maxima of 30 ms to each side that stand above a threshold (Böck, Krebs and Schedl, ISMIR 2012, section 3.3),
// at least 50 ms apart.
func onsetTimes(strength []float64) []int {
	const reach, apart, threshold = 3, 5, 0.8
	var out []int
	for t, v := range strength {
		if v < threshold {
			continue
		}
		highest := true
		for k := max(0, t-reach); k < min(len(strength), t+reach+1); k++ {
			if strength[k] > v || strength[k] == v && k < t {
				highest = false
				break
			}
		}
		if highest && (len(out) == 0 || t-out[len(out)-1] >= apart) {
			out = append(out, t)
		}
	}
	return out
}

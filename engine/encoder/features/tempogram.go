package features

import "math"

const (
	shortestLag      = 0.2 // seconds: 300 beats a minute
	tempogramReach   = 256 // mel frames to each side of the centre
	melPerTempogram  = FramesPerTempogram * melPerFrame
	fewestProducts   = 16 // a lag with fewer products than this reads 0
	onsetPowerFloor  = 1e-5
	melFramesPerSec  = float64(halfRate) / melHop
	halfBinLagFactor = 1.0 / (2 * LagsPerOctave) // octaves
)

// lag is where one row of a tempogram reads the autocorrelation: between floor and floor+1, and at the whole lags first..last.
type lag struct {
	floor       int
	fraction    float64
	first, last int
}

// lagBank spaces the lags evenly on a log scale, so that a change of tempo shifts a tempogram.
func lagBank(count int, framesPerSecond float64) []lag {
	table := make([]lag, count)
	for i := range table {
		frames := shortestLag * framesPerSecond * math.Exp2(float64(i)/LagsPerOctave)
		table[i] = lag{
			floor:    int(frames),
			fraction: frames - math.Floor(frames),
			first:    int(math.Ceil(frames * math.Exp2(-halfBinLagFactor))),
			last:     int(math.Floor(frames * math.Exp2(halfBinLagFactor))),
		}
	}
	return table
}

// read returns the highest value of the autocorrelation within the row's half bin on each side.
func (l lag) read(ac []float64) float32 {
	if l.floor+1 >= len(ac) {
		return 0
	}
	v := ac[l.floor]*(1-l.fraction) + ac[l.floor+1]*l.fraction
	for i := l.first; i <= min(l.last, len(ac)-1); i++ {
		v = max(v, ac[i])
	}
	return float32(v)
}

// bandOnsets returns the rise of each mel band at each mel frame.
func bandOnsets(mel Matrix) [][]float64 {
	out := make([][]float64, mel.Cols)
	for b := range out {
		out[b] = make([]float64, mel.Rows)
		for m := 1; m < mel.Rows; m++ {
			out[b][m] = float64(max(0, mel.Row(m)[b]-mel.Row(m - 1)[b]))
		}
	}
	return out
}

// strength returns the mean rise of the bands at each mel frame.
func strength(rises [][]float64) []float64 {
	out := make([]float64, len(rises[0]))
	for _, rise := range rises {
		for m, v := range rise {
			out[m] += v / float64(len(rises))
		}
	}
	return out
}

// groupOnsets returns the onset strength of each group of ten bands.
func groupOnsets(rises [][]float64) (out [Groups][]float64) {
	for g := range out {
		out[g] = strength(rises[g*bandsPerGroup : (g+1)*bandsPerGroup])
	}
	return out
}

// tempograms returns ceil(frames/16) local autocorrelations [Lags, Groups], one under another.
func tempograms(groups [Groups][]float64, table []lag, frames int) Matrix {
	count := (frames + FramesPerTempogram - 1) / FramesPerTempogram
	out, longest := NewMatrix(count*Lags, Groups), table[len(table)-1]
	ac := make([]float64, longest.last+2)
	for t := range count {
		centre := t*melPerTempogram + melPerTempogram/2
		for g, onset := range groups {
			part := onset[max(0, centre-tempogramReach):min(len(onset), centre+tempogramReach)]
			got := autocorrelation([][]float64{part}, ac)
			for i, l := range table {
				out.Data[(t*Lags+i)*Groups+g] = l.read(got)
			}
		}
	}
	return out
}

// autocorrelation fills ac with the mean products of the series, each less its mean, at each lag, summed over the series and relative to lag 0, as far
// as 16 products exist. The series are equally long.
func autocorrelation(series [][]float64, ac []float64) []float64 {
	length := len(series[0])
	ac = ac[:max(0, min(len(ac), length-fewestProducts))]
	clear(ac)
	if len(ac) == 0 {
		return ac
	}
	centred := make([]float64, length)
	for _, x := range series {
		mean := 0.0
		for _, v := range x {
			mean += v / float64(length)
		}
		for i, v := range x {
			centred[i] = v - mean
		}
		for l := range ac {
			ahead, sum := centred[l:], 0.0
			for i, v := range ahead {
				sum += v * centred[i]
			}
			ac[l] += sum / float64(len(ahead))
		}
	}
	power := ac[0] + onsetPowerFloor
	for l := range ac {
		ac[l] /= power
	}
	return ac
}

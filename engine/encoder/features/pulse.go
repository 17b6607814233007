package features

// Sizes of a pulse matrix. Its lags begin where a tempogram's do and reach past a slow bar.
const (
	PulseLags = 136 // 0.2 to 9.9 s
	PulseCols = Groups + 4

	lowBands     = 4 // mel bands in which a bass drum is heard
	changeReach  = 3 // frames on each side of a change of harmony: 0.28 s
	pitchClasses = 12
)

// pulse returns [PulseLags, PulseCols]: autocorrelations over the whole window, in which a bar shows as well as a beat. The columns are the onsets of
// the four groups of mel bands, of the lowest bands, and of all bands one by one (Foote and Uchihashi 2001, "The beat spectrum"), the pitch classes, and the changes of harmony.
// The onsets are smoothed: a lag halfway between two mel frames would read two thirds of what a whole number of frames reads, and reads nine tenths.
func (e *Extractor) pulse(rises [][]float64, groups [Groups][]float64, semitones Matrix) Matrix {
	classes := chroma(semitones)
	out, column := NewMatrix(PulseLags, PulseCols), 0
	add := func(table []lag, series ...[]float64) {
		ac := autocorrelation(series, make([]float64, table[len(table)-1].last+2))
		for i, l := range table {
			out.Row(i)[column] = l.read(ac)
		}
		column++
	}
	for _, onset := range groups {
		add(e.pulseLags, smoothed(onset)...)
	}
	add(e.pulseLags, smoothed(strength(rises[:lowBands]))...)
	add(e.pulseLags, smoothed(rises...)...)
	add(e.slowLags, classes...)
	add(e.slowLags, changes(classes))
	return out
}

// smoothed returns the series with every value spread over its neighbours, 1/4, 1/2, 1/4.
func smoothed(series ...[]float64) [][]float64 {
	out := make([][]float64, len(series))
	for k, x := range series {
		out[k] = make([]float64, len(x))
		for i, v := range x {
			out[k][i] += v / 2
			if i > 0 {
				out[k][i-1] += v / 4
			}
			if i+1 < len(x) {
				out[k][i+1] += v / 4
			}
		}
	}
	return out
}

// chroma returns the mean level of each pitch class at each frame.
func chroma(semitones Matrix) [][]float64 {
	out := make([][]float64, pitchClasses)
	for c := range out {
		out[c] = make([]float64, semitones.Rows)
		for t := range out[c] {
			for s := c; s < semitones.Cols; s += pitchClasses {
				out[c][t] += float64(semitones.Row(t)[s]) * pitchClasses / float64(semitones.Cols)
			}
		}
	}
	return out
}

// changes returns by how much the pitch classes rise at each frame, from the frames before it to the frame and those after it.
func changes(classes [][]float64) []float64 {
	out := make([]float64, len(classes[0]))
	for _, level := range classes {
		for t := changeReach; t+changeReach <= len(level); t++ {
			rise := 0.0
			for k := range changeReach {
				rise += (level[t+k] - level[t-1-k]) / changeReach
			}
			out[t] += max(0, rise)
		}
	}
	return out
}

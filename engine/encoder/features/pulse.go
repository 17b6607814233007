package features

// Sizes of a pulse matrix. Its lags begin where a tempogram's do and reach past a slow bar.
const (
	PulseLags = 136 // 0.2 to 9.9 s
	PulseCols = Groups + 4

	lowBands      = 4 // mel bands in which a bass drum is heard
	changeReach   = 3 // frames on each side of a change of harmony: 0.28 s
	semitoneCount = 12
)

// pulse returns [PulseLags, PulseCols]: autocorrelations over the whole window, in which a bar shows as well as a beat. The columns are the onsets of
// the four groups of mel bands, of the lowest bands, and of all bands one by one (Foote and Uchihashi 2001, "The beat spectrum"), the pitch classes, and the changes of harmony.
func (e *Extractor) pulse(mel, semitones Matrix, onset [Groups][]float64) Matrix {
	rises := bandOnsets(mel)
	low := make([]float64, mel.Rows)
	for b := range lowBands {
		for m, v := range rises[b] {
			low[m] += v / lowBands
		}
	}
	classes := chroma(semitones)
	out, column := NewMatrix(PulseLags, PulseCols), 0
	add := func(table []lag, series ...[]float64) {
		ac := autocorrelation(series, make([]float64, table[len(table)-1].last+2))
		for i, l := range table {
			out.Row(i)[column] = l.read(ac)
		}
		column++
	}
	for _, strength := range onset {
		add(e.pulseLags, strength)
	}
	add(e.pulseLags, low)
	add(e.pulseLags, rises...)
	add(e.slowLags, classes...)
	add(e.slowLags, changes(classes))
	return out
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

// chroma returns the mean level of each pitch class at each frame.
func chroma(semitones Matrix) [][]float64 {
	out := make([][]float64, semitoneCount)
	for c := range out {
		out[c] = make([]float64, semitones.Rows)
		for t := range out[c] {
			for s := c; s < semitones.Cols; s += semitoneCount {
				out[c][t] += float64(semitones.Row(t)[s]) * semitoneCount / float64(semitones.Cols)
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

package mir

// Cues are what the judges see of a recording. They are for fitting the judges' weights (training/peers/mir_fit.py), nothing else.
type Cues struct {
	// Tempo is [tempo of the grid][cue], BPM the grid.
	Tempo [][]float64 `json:"tempo"`
	BPM   []float64   `json:"bpm"`
	// Key is [key: 12 major, 12 minor][cue].
	Key [][]float64 `json:"key"`
	// Metre is empty without beats.
	Metre   []float64 `json:"metre"`
	Content []float64 `json:"content"`
	// Rate is the tempo that was found, for which the metre's cues hold.
	Rate float64 `json:"rate"`
}

// CuesOf returns the cues of a recording of at most ten minutes.
func CuesOf(pcm []int16) Cues {
	last, total := measureAll(pcm), newSummary()
	total.add(last)
	out := Cues{Tempo: last.gram.mean, Metre: last.cues, Content: total.texture.cues(), Rate: last.tempo.BPM}
	for i := range gridSize {
		out.BPM = append(out.BPM, gridBPM(i))
	}
	for k := range 24 {
		out.Key = append(out.Key, last.harmony.cues(k%12, k/12))
	}
	return out
}

package mir

import "math"

// Hearing is what the judges of tempo and key make of a recording, for a model that listens with ears of its own as well.
type Hearing struct {
	// Keys is, for each tonic (C first): the correlations with the profiles of a major and of a minor key, the pitch classes and the bass notes from the
	// tonic up, the share of the time of each of the 24 chords from the tonic up, and the probability of the major and of the minor key, on a logarithmic scale from
	// 0 (leastChance) to 1 (certain).
	Keys  [12][KeyHearing]float64
	tempi []float64 // probability of each tempo of the grid
}

// KeyHearing is how many values a Hearing has of each tonic.
const KeyHearing = 2*len(profiles) + 12 + 12 + 24 + 2

// leastChance bounds the logarithms of probabilities: a key that is less likely is as good as excluded.
const leastChance = 1e-4

// Hear returns what is heard in mono PCM at SampleRate, at most ten minutes of it.
func Hear(pcm []int16) Hearing {
	m := measureAll(pcm)
	out := Hearing{tempi: m.gram.posterior()}
	chances := m.harmony.chances()
	for tonic := range out.Keys {
		major, minor := m.harmony.cues(tonic, 0), m.harmony.cues(tonic, 1)
		row := append(out.Keys[tonic][:0], major[:len(profiles)]...)
		row = append(append(row, minor[:len(profiles)]...), major[len(profiles):]...)
		for mode := range 2 {
			row = append(row, 1-math.Log(max(leastChance, chances[tonic+12*mode]))/math.Log(leastChance))
		}
	}
	return out
}

// Tempo is the probability that the beat is within 4 % of bpm, 0 beyond the grid of 35 to 250 BPM.
func (h Hearing) Tempo(bpm float64) float64 {
	if bpm < lowestBPM || bpm > highestBPM {
		return 0
	}
	return mass(h.tempi, min(gridIndex(bpm), len(h.tempi)-1))
}

// measureAll measures a recording as one section.
func measureAll(pcm []int16) measured {
	a := New(nil)
	a.Write(pcm)
	a.process()
	a.front.flush()
	a.section.trim(a.samples, 0, 0)
	return measure(&a.section)
}

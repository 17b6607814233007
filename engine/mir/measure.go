package mir

import "math"

// measured is what one section is found to be.
type measured struct {
	seconds float64
	tempo   Tempo
	local   []float64
	gram    tempogram
	beats   []Beat
	metre   Metre
	cues    []float64 // of the metre, nil without beats
	tuning  float64
	harmony harmony
	texture texture
}

// fewestBeats is how many beats metre and bars need.
const fewestBeats = 6

// gridFrames is how far apart chords are read where there are no beats: half a second.
const gridFrames = 50

func measure(s *section) measured {
	on := onsetStrength(s.bands)
	m := measured{seconds: float64(len(s.bands)) / framesPerSecond, tuning: tuningOf(s.peaks)}
	chroma, bass := chromagram(s.peaks, m.tuning)
	on.change = harmonicChange(chroma, len(s.bands))
	m.gram = newTempogram(on)
	m.tempo, m.local = tempoOf(m.gram)
	periods := periodsOf(m.gram.places, m.local, len(on.all))
	frames := heard(trackBeats(on.all, periods), on.all, periods)
	m.refine(frames)
	m.texture = textureOf(s, on, m.tuning)
	m.texture.pulse = m.tempo.Pulse

	marks := frames
	if len(marks) < fewestBeats {
		marks = nil
		for t := 0; t < len(on.all); t += gridFrames {
			marks = append(marks, t)
		}
	}
	perMark := between(chroma, marks, len(on.all))
	chords := chordPath(perMark)
	m.harmony = harmonyOf(chroma, bass, chords, marks, len(on.all))
	if len(frames) < fewestBeats {
		return m
	}
	a := accentsOf(frames, on, perMark)
	m.cues = a.cues(m.gram.ac, m.tempo.BPM)
	m.metre = metreOf(m.cues)
	at, _ := positions(a.combined(), m.metre.Beats)
	for i, f := range frames {
		m.beats = append(m.beats, Beat{Seconds: float64(f) / framesPerSecond, InBar: at[i] + 1, Chord: chordOf(chords[i])})
	}
	return m
}

// refine replaces the grid's tempo by that of the beats, where they agree.
func (m *measured) refine(frames []int) {
	if r := rate(frames); r > 0 && math.Abs(math.Log(r/m.tempo.BPM)) < 0.04 {
		m.tempo.BPM = r
	}
}

// between is the mean chroma from each mark (a frame of rhythm) to the next.
func between(chroma [][12]float64, marks []int, frames int) [][12]float64 {
	out := make([][12]float64, len(marks))
	for i, from := range marks {
		to := frames
		if i+1 < len(marks) {
			to = marks[i+1]
		}
		first := int(math.Ceil(float64(from) / framesPerSecond * pitchesPerSecond))
		last := int(math.Ceil(float64(to)/framesPerSecond*pitchesPerSecond)) - 1
		if last < first {
			first = int(math.Round(float64(from+to) / 2 / framesPerSecond * pitchesPerSecond))
			last = first
		}
		for t := max(0, first); t <= min(last, len(chroma)-1); t++ {
			for c, v := range chroma[t] {
				out[i][c] += v
			}
		}
	}
	return out
}

func harmonyOf(chroma, bass [][12]float64, chords, marks []int, frames int) harmony {
	var h harmony
	for t := range chroma {
		for c := range 12 {
			h.chroma[c] += chroma[t][c]
			h.bass[c] += bass[t][c]
		}
	}
	for i, state := range chords {
		to := frames
		if i+1 < len(marks) {
			to = marks[i+1]
		}
		h.chords[state] += float64(to-marks[i]) / framesPerSecond
	}
	return h
}

// add joins the harmony of a later section.
func (h *harmony) add(o harmony) {
	for c := range 12 {
		h.chroma[c] += o.chroma[c]
		h.bass[c] += o.bass[c]
	}
	for s, v := range o.chords {
		h.chords[s] += v
	}
}

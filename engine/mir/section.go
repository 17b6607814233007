package mir

// section is the part of a stream that is analysed at once: band levels at framesPerSecond and spectral peaks at pitchesPerSecond.
type section struct {
	bands [][bandCount]float32
	peaks [][]peak
}

// frontEnd turns samples into what a section is made of.
type frontEnd struct {
	half, quarter *halver
	rhythm, pitch *framer
	scratch       []peak
}

func newFrontEnd(into *section) *frontEnd {
	f := &frontEnd{half: newHalver(), quarter: newHalver()}
	bank := melBands()
	f.rhythm = newFramer(rhythmFFT, rhythmHop, func(m []float64) {
		var row [bandCount]float32
		for i, b := range bank {
			row[i] = b.level(m)
		}
		into.bands = append(into.bands, row)
	})
	f.pitch = newFramer(pitchFFT, pitchHop, func(m []float64) {
		f.scratch = peaksOf(m, f.scratch)
		into.peaks = append(into.peaks, append([]peak(nil), f.scratch...))
	})
	return f
}

func (f *frontEnd) process(x []float64) {
	half := f.half.process(x)
	f.rhythm.process(half)
	f.pitch.process(f.quarter.process(half))
}

// flush makes the frames at the end of the stream.
func (f *frontEnd) flush() {
	half := f.half.process(make([]float64, f.half.reach()))
	f.rhythm.process(half)
	f.pitch.process(f.quarter.process(half))
	f.pitch.process(f.quarter.process(make([]float64, f.quarter.reach())))
	f.rhythm.flush()
	f.pitch.flush()
}

// trim drops the frames that are centred after the end of the stream.
func (s *section) trim(samples int64, origin, pitchOrigin int) {
	frames := int(samples/2/rhythmHop) + 1 - origin
	s.bands = s.bands[:max(0, min(len(s.bands), frames))]
	pitches := int(samples/4/pitchHop) + 1 - pitchOrigin
	s.peaks = s.peaks[:max(0, min(len(s.peaks), pitches))]
}

// drop forgets the first frames.
func (s *section) drop(frames, pitchFrames int) {
	s.bands = s.bands[:copy(s.bands, s.bands[frames:])]
	kept := copy(s.peaks, s.peaks[pitchFrames:])
	clear(s.peaks[kept:])
	s.peaks = s.peaks[:kept]
}

package mir

import "math"

// Levels of the samples.
type Levels struct {
	// Peak is the highest sample relative to full scale, in dBFS; -Inf for digital silence. It is the sample peak, not the true peak.
	Peak float64
	// ClippedRuns is how often three or more samples in a row stood at full scale, and Clipped their share of all samples.
	ClippedRuns int64
	Clipped     float64
	// Silent is the share of the time, in blocks of 100 ms, below -60 dBFS (root mean square); LeadIn and LeadOut are the seconds of it at the start and at the end.
	Silent          float64
	LeadIn, LeadOut float64
}

const (
	fullScale    = 32767.0 / 32768
	clippedRun   = 3
	silentPower  = 1e-6 // -60 dBFS
	levelSamples = SampleRate / 10
)

// levelMeter measures a stream in constant memory.
type levelMeter struct {
	peak          float64
	run           int64
	runs, clipped int64
	samples       int64
	power         float64
	inBlock       int
	blocks        int64
	silent        int64
	lead, tail    int64
	heard         bool
}

func (m *levelMeter) process(x []float64) {
	for _, v := range x {
		a := math.Abs(v)
		m.peak = max(m.peak, a)
		if a >= fullScale {
			m.run++
			if m.run == clippedRun {
				m.runs++
				m.clipped += clippedRun
			} else if m.run > clippedRun {
				m.clipped++
			}
		} else {
			m.run = 0
		}
		m.power += v * v
		if m.inBlock++; m.inBlock == levelSamples {
			m.block()
		}
	}
	m.samples += int64(len(x))
}

func (m *levelMeter) block() {
	silent := m.power/float64(m.inBlock) < silentPower
	m.blocks++
	switch {
	case !silent:
		m.heard, m.tail = true, 0
	case !m.heard:
		m.lead++
		m.silent++
	default:
		m.tail++
		m.silent++
	}
	m.power, m.inBlock = 0, 0
}

// result counts a block begun as a whole one.
func (m *levelMeter) result() Levels {
	if m.inBlock > 0 {
		m.block()
	}
	out := Levels{Peak: 20 * math.Log10(m.peak), ClippedRuns: m.runs}
	if m.samples == 0 {
		return out
	}
	out.Clipped = float64(m.clipped) / float64(m.samples)
	out.Silent = float64(m.silent) / float64(m.blocks)
	seconds := float64(m.samples) / SampleRate
	out.LeadIn, out.LeadOut = min(seconds, float64(m.lead)/10), min(seconds, float64(m.tail)/10)
	return out
}

package mir

import (
	"math"
	"slices"
)

// summary joins the sections of a stream.
type summary struct {
	seconds float64
	readings
	harmony harmony
	texture texture
	re, im  float64 // tuning as a direction
	metres  [len(metres)]float64
}

// readings are the sections' tempi, merged where they agree, in the order of their first section.
type readings struct {
	tempi   []Tempo
	weights []float64 // seconds times pulse
}

func newSummary() summary { return summary{} }

func (s *summary) add(m measured) {
	s.seconds += m.seconds
	s.harmony.add(m.harmony)
	s.texture.add(m.texture)
	a := 2 * math.Pi * m.tuning / 100
	s.re += m.seconds * math.Cos(a)
	s.im += m.seconds * math.Sin(a)
	if m.metre.Name != "" {
		i := slices.IndexFunc(metres[:], func(x Metre) bool { return x.Name == m.metre.Name })
		s.metres[i] += m.metre.Confidence * m.seconds
	}
	s.tempo(m.tempo, m.seconds*(m.tempo.Pulse+0.01))
}

// tempo merges a section's tempo with the first within 4 %.
func (r *readings) tempo(t Tempo, weight float64) {
	for i := range r.tempi {
		have := &r.tempi[i]
		if math.Abs(math.Log(have.BPM/t.BPM)) > 0.04 {
			continue
		}
		share := weight / (r.weights[i] + weight)
		have.BPM = have.BPM*(1-share) + t.BPM*share
		have.Confidence = have.Confidence*(1-share) + t.Confidence*share
		have.Pulse = have.Pulse*(1-share) + t.Pulse*share
		have.Low, have.High = min(have.Low, t.Low), max(have.High, t.High)
		r.weights[i] += weight
		return
	}
	const most = 32 // a stream that never comes back to a tempo is not worth more
	if len(r.tempi) < most {
		r.tempi, r.weights = append(r.tempi, t), append(r.weights, weight)
	}
}

// best is the tempo of most of the stream. Other tempi in a tenth of it or more widen its range.
func (r *readings) best() Tempo {
	if len(r.tempi) == 0 {
		return Tempo{}
	}
	i, _ := top(r.weights)
	out, sum := r.tempi[i], 0.0
	for _, w := range r.weights {
		sum += w
	}
	for k, t := range r.tempi {
		if r.weights[k] > sum/10 {
			out.Low, out.High = min(out.Low, t.Low), max(out.High, t.High)
		}
	}
	out.Confidence *= r.weights[i] / sum
	out.Steady = out.Pulse >= leastPulse && out.High/out.Low <= SteadyWithin
	return out
}

func (s *summary) result() Result {
	var out Result
	if s.seconds == 0 {
		out.Content = Content{Silence, 1}
		return out
	}
	out.Tempo = s.best()
	out.Key, out.RunnerUp = s.harmony.keys()
	out.TuningCents = math.Atan2(s.im, s.re) / (2 * math.Pi) * 100
	if i, _ := top(s.metres[:]); s.metres[i] > 0 {
		out.Metre = metres[i]
		out.Metre.Confidence = s.metres[i] / s.seconds
	}
	out.Content = contentOf(s.texture.cues())
	return out
}

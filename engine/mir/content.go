package mir

import "math"

// Kind is what a recording is.
type Kind string

// The kinds that are told apart.
const (
	Music   Kind = "music"
	Noise   Kind = "noise"
	Speech  Kind = "speech"
	Tone    Kind = "tone"
	Silence Kind = "silence"
)

var kinds = [...]Kind{Music, Noise, Speech, Tone}

// Content says what a recording is, as far as pitch and rhythm tell.
type Content struct {
	Kind Kind
	// Confidence is the probability of the kind, as the judge sees it; 1 for silence.
	Confidence float64
}

// contentCues is the number of cues of a recording's kind.
const contentCues = 11

// texture sums up what tells music from other sound; sums over frames, so that sections add up.
type texture struct {
	frames, lasting, strength float64 // peaks' magnitudes: all that go on into the next frame within a quarter tone, and all
	re, im                    float64 // direction of the lasting peaks against the scale, weighted
	steady                    float64 // of the lasting peaks, those that stay within 10 cents
	flatness, flatFrames      float64
	modulation, modulationSum float64 // of the level at 3 to 7 Hz, and all
	onsets, pulse, secs       float64
	classes                   [12]float64
}

func (x *texture) add(y texture) {
	x.frames += y.frames
	x.lasting += y.lasting
	x.strength += y.strength
	size := math.Hypot(y.re, y.im)
	x.re += size // sections may be tuned differently
	x.steady += y.steady
	x.flatness += y.flatness
	x.flatFrames += y.flatFrames
	x.modulation += y.modulation
	x.modulationSum += y.modulationSum
	x.onsets += y.onsets
	x.pulse += y.pulse * y.secs
	x.secs += y.secs
	for i, v := range y.classes {
		x.classes[i] += v
	}
}

// textureOf reads a section. Sustained pitches that lie on a scale are music's; a voice that speaks glides.
func textureOf(s *section, on onsets, tuning float64) texture {
	x := texture{secs: float64(len(s.bands)) / framesPerSecond, onsets: float64(len(onsetTimes(on.all)))}
	for t, frame := range s.peaks {
		if t == 0 {
			continue
		}
		x.frames++
		x.pitches(s.peaks[t-1], frame, tuning)
	}
	x.shape(s.bands)
	return x
}

// pitches follows peaks from one frame to the next.
func (x *texture) pitches(before, now []peak, tuning float64) {
	k := 0
	for _, p := range now {
		x.strength += float64(p.magnitude)
		for k < len(before) && before[k].cents < p.cents-50 {
			k++
		}
		nearest := math.Inf(1)
		for j := k; j < len(before) && before[j].cents <= p.cents+50; j++ {
			if r := p.magnitude / before[j].magnitude; r > 0.25 && r < 4 {
				nearest = min(nearest, math.Abs(float64(before[j].cents-p.cents)))
			}
		}
		if nearest > 50 {
			continue
		}
		m := float64(p.magnitude)
		x.lasting += m
		if nearest < 10 {
			x.steady += m
		}
		a := 2 * math.Pi * float64(p.cents) / 100
		x.re += m * math.Cos(a)
		x.im += m * math.Sin(a)
		semis := int(math.Round((float64(p.cents)-tuning)/100)) + 9
		x.classes[((semis%12)+12)%12] += m
	}
}

// shape reads the levels: how flat the spectrum is, and how much its level moves at the rate of syllables (Scheirer and Slaney, ICASSP 1997, 4 Hz modulation energy).
func (x *texture) shape(bands [][bandCount]float32) {
	level := make([]float64, len(bands))
	for t := range bands {
		sum, logs := 0.0, 0.0
		for _, v := range bands[t] {
			sum += float64(v)
			logs += math.Log(float64(v) + 1e-9)
		}
		level[t] = sum
		if sum > 1e-4*bandCount {
			x.flatness += math.Exp(logs/bandCount) / (sum / bandCount)
			x.flatFrames++
		}
	}
	slow, fast := smooth(level, 12), smooth(level, 3)
	for t := range level {
		d := fast[t] - slow[t]
		x.modulation += math.Abs(d)
		x.modulationSum += slow[t]
	}
}

func (x *texture) cues() []float64 {
	const tiny = 1e-9
	total, most, power := tiny, 0.0, 0.0
	for _, v := range x.classes {
		total += v
		most = max(most, v)
		power += v * v
	}
	return []float64{
		x.lasting / (x.strength + tiny),
		x.steady / (x.lasting + tiny),
		math.Hypot(x.re, x.im) / (x.lasting + tiny),
		x.flatness / (x.flatFrames + tiny),
		x.modulation / (x.modulationSum + tiny),
		x.onsets / (x.secs + tiny),
		x.pulse / (x.secs + tiny),
		most / total,
		total * total / (power + tiny) / 12,
		x.flatFrames / (x.secs*framesPerSecond + tiny),
		math.Log10(x.strength/(x.frames+tiny) + 1e-6),
	}
}

// contentOf judges a recording that is not silent.
func contentOf(cues []float64) Content {
	scores := make([]float64, len(kinds))
	for i := range scores {
		scores[i] = contentBias[i] + dot(cues, contentWeights[i][:])
	}
	p := softmax(scores)
	best, _ := top(p)
	return Content{kinds[best], p[best]}
}

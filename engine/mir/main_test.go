package mir

import (
	"math"
	"math/rand/v2"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sound is a signal under construction, in [-1, 1].
type sound []float64

func silence(seconds float64) sound { return make(sound, int(seconds*SampleRate)) }

// pcm rounds and clips.
func (s sound) pcm() []int16 {
	out := make([]int16, len(s))
	for i, v := range s {
		out[i] = int16(math.Round(max(-32768, min(32767, v*32768))))
	}
	return out
}

// sine adds a tone with a short fade at both ends.
func (s sound) sine(from, to, hz, amplitude float64) sound {
	first, last := int(from*SampleRate), min(len(s), int(to*SampleRate))
	for i := first; i < last; i++ {
		t := float64(i-first) / SampleRate
		fade := min(1, t/0.005, (float64(last-i)/SampleRate)/0.02)
		s[i] += amplitude * fade * math.Sin(2*math.Pi*hz*t)
	}
	return s
}

// note adds a plucked note of six harmonics; key is a MIDI number.
func (s sound) note(from, seconds, key, amplitude float64) sound {
	hz := 440 * math.Exp2((key-69)/12)
	first := int(from * SampleRate)
	for i := first; i < min(len(s), first+int(seconds*SampleRate)); i++ {
		t := float64(i-first) / SampleRate
		level := amplitude * min(1, t/0.004, (seconds-t)/0.02) * math.Exp(-2*t)
		for h := 1.0; h <= 6; h++ {
			s[i] += level / h * math.Sin(2*math.Pi*hz*h*t)
		}
	}
	return s
}

// click adds a burst of noise of 15 ms.
func (s sound) click(at, amplitude float64) sound {
	rng := rand.New(rand.NewPCG(1, uint64(at*1000)))
	first := int(at * SampleRate)
	for i := first; i < min(len(s), first+SampleRate*15/1000); i++ {
		s[i] += amplitude * math.Exp(-float64(i-first)/150) * (2*rng.Float64() - 1)
	}
	return s
}

func (s sound) noise(amplitude float64) sound {
	rng := rand.New(rand.NewPCG(7, 7))
	for i := range s {
		s[i] += amplitude * (2*rng.Float64() - 1)
	}
	return s
}

// clicks returns clicks at a steady tempo, the first of each group of accent louder (0: none is).
func clicks(seconds, bpm float64, accent int) sound {
	s := silence(seconds)
	for i := 0; ; i++ {
		at := 0.3 + float64(i)*60/bpm
		if at >= seconds {
			return s
		}
		level := 0.4
		if accent > 0 && i%accent == 0 {
			level = 0.9
		}
		s.click(at, level)
	}
}

// progression plays triads, a bar of four beats each, over a bass; a chord is a root above C3 in semitones, negative numbers and below: minor (-1 is C minor).
func progression(bars int, bpm, cents float64, chords []int) sound {
	beat := 60 / bpm
	s := silence(float64(bars)*4*beat + 0.5)
	for bar := range bars {
		root, third := chords[bar%len(chords)], 4.0
		if root < 0 {
			root, third = -root-1, 3
		}
		base := 48 + float64(root) + cents/100
		for b := range 4 {
			at := (float64(bar)*4 + float64(b)) * beat
			if b == 0 {
				s.note(at, 2*beat, base-12, 0.2)
			}
			for _, k := range []float64{0, third, 7, 12} {
				s.note(at, beat*0.95, base+12+k, 0.06)
			}
		}
	}
	return s
}

// babble is noise in syllables of changing pitch and length, with pauses, as speech has.
func babble(seconds float64) sound {
	rng := rand.New(rand.NewPCG(3, 4))
	s := silence(seconds)
	for at := 0.2; at < seconds-0.4; {
		length := 0.1 + 0.15*rng.Float64()
		from, to := 90+60*rng.Float64(), 90+60*rng.Float64()
		phase := 0.0
		first := int(at * SampleRate)
		for i := first; i < first+int(length*SampleRate); i++ {
			f := float64(i-first) / (length * SampleRate)
			phase += 2 * math.Pi * (from*(1-f) + to*f) / SampleRate
			voice := 0.0
			for h := 1.0; h <= 20; h++ {
				voice += math.Sin(phase*h) / h
			}
			s[i] += math.Sin(math.Pi*f) * (0.15*voice + 0.05*(2*rng.Float64()-1))
		}
		at += length + 0.02
		if rng.Float64() < 0.2 {
			at += 0.3
		}
	}
	return s
}

package modelcheck

import (
	"math"
	"math/rand/v2"
)

const loud = 12000 // of 32767

// tone is a sine of 440 Hz.
func tone(samples, rate int) []int16 {
	pcm := make([]int16, samples)
	for i := range pcm {
		pcm[i] = int16(loud * math.Sin(2*math.Pi*440*float64(i)/float64(rate)))
	}
	return pcm
}

// drums are a falling kick and a burst of noise in turns, 120 beats a minute, always the same.
func drums(samples, rate int) []int16 {
	noise := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // a sound, not a secret
	pcm := make([]int16, samples)
	beat := rate / 2
	for i := range pcm {
		t := float64(i%beat) / float64(rate)
		sound := math.Sin(2 * math.Pi * (50*t + 8*(1-math.Exp(-t*20))))
		if i/beat%2 == 1 {
			sound = 2*noise.Float64() - 1
		}
		pcm[i] = int16(loud * sound * math.Exp(-t*15))
	}
	return pcm
}

package features

import (
	"math"

	"github.com/larkstream/larkstream/engine/mir"
)

// KeyCols is the number of columns of Features.Keys.
const KeyCols = mir.KeyHearing

// lowestClass is the pitch class of the lowest semitone, F#, counted from C.
const lowestClass = 6

// hear returns what engine/mir hears: [12, KeyCols] of the keys, F# first, and [PulseLags] of the beat, the square root of the probability that it lasts
// within 4 % of each lag of the pulse: the root keeps the runner-up in sight.
func hear(pcm []int16) (keys Matrix, beats []float32) {
	heard := mir.Hear(pcm)
	keys, beats = NewMatrix(pitchClasses, KeyCols), make([]float32, PulseLags)
	for c := range pitchClasses {
		for i, v := range heard.Keys[(lowestClass+c)%pitchClasses] {
			keys.Row(c)[i] = float32(v)
		}
	}
	for i := range beats {
		beats[i] = float32(math.Sqrt(heard.Tempo(60 / (shortestLag * math.Exp2(float64(i)/LagsPerOctave)))))
	}
	return keys, beats
}

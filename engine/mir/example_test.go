package mir_test

import (
	"fmt"
	"math"

	"github.com/larkstream/larkstream/engine/mir"
)

// A tone of A4 in both channels of a stereo file at -20 dBFS has a loudness of about -20 LUFS, and no tempo.
func ExampleAnalyse() {
	pcm := make([]int16, 5*mir.SampleRate)
	for i := range pcm {
		pcm[i] = int16(3276.8 * math.Sin(2*math.Pi*440*float64(i)/mir.SampleRate))
	}
	result, _ := mir.Analyse(pcm)
	fmt.Printf("%s, %.0f LUFS, steady: %t\n", result.Content.Kind, result.Loudness.DualMono().Integrated, result.Tempo.Steady)
	// Output: tone, -21 LUFS, steady: false
}

// A stream is written in pieces of any size; beats come as soon as they are known.
func ExampleAnalyser() {
	beats := 0
	analyser := mir.New(func(mir.Beat) { beats++ })
	block := make([]int16, mir.SampleRate/2) // half a second that starts with a click
	for i := range 400 {
		block[i] = int16(20000 * math.Exp(-float64(i)/100) * math.Sin(float64(i*i)))
	}
	for range 40 {
		analyser.Write(block)
	}
	result := analyser.Finish()
	fmt.Printf("%.0f BPM, %t, %.0f s\n", result.Tempo.BPM, beats > 35, result.Seconds)
	// Output: 120 BPM, true, 20 s
}

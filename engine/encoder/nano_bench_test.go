package encoder

import (
	"math"
	"testing"

	"github.com/larkstream/larkstream/engine/encoder/nano"
)

// BenchmarkNano encodes a window of 25 s and reports how many seconds of audio it does in one.
func BenchmarkNano(b *testing.B) {
	e, err := nano.Load(nanoBundle)
	if err != nil {
		b.Fatal(err)
	}
	pcm := make([]int16, 25*44100)
	for i := range pcm {
		pcm[i] = int16(8000 * math.Sin(float64(i)/15))
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, _, _, err := e.Encode(b.Context(), pcm); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(25*float64(b.N)/b.Elapsed().Seconds(), "x_real_time")
}

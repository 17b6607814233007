package mir

import "testing"

// BenchmarkAnalyse measures half a minute of triads.
func BenchmarkAnalyse(b *testing.B) {
	pcm := progression(12, 100, 10, []int{0, 5, 7, -10}).pcm()
	b.SetBytes(int64(2 * len(pcm)))
	for b.Loop() {
		Analyse(pcm)
	}
}

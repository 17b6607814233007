//go:build unix

package tensor

import (
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"
)

// processorSeconds is the time that all processors have worked for this process.
func processorSeconds() float64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// BenchmarkHalf reports GFLOP/s per processor, by processor time so that a busy machine does not matter, and as a share of the
// ceiling measured just before: go test -run - -bench Half ./tensor
func BenchmarkHalf(b *testing.B) {
	for _, precision := range Precisions() {
		for _, s := range [][3]int{{2048, 3600, 4800}, {2048, 4800, 1200}, {2048, 4800, 4800}, {272, 4800, 4800}} {
			b.Run(fmt.Sprintf("%dx%dx%d/%s/%s", s[0], s[1], s[2], precision, active().name), func(b *testing.B) {
				m, n, k := s[0], s[1], s[2]
				begun := processorSeconds()
				ceiling := TileFlops(precision, 200_000) / (processorSeconds() - begun) / 1e9
				r := rand.New(rand.NewPCG(9, 9))
				x, dst := random(r, m*k), make([]float32, m*n)
				w := HalfMatrix{In: k, Out: n, Data: make([]byte, 2*n*k), Precision: precision}
				used := 0.0
				for b.Loop() {
					begun := processorSeconds()
					w.MatMul(dst, x, m, k, Fused{})
					used += processorSeconds() - begun
				}
				rate := 2 * float64(m) * float64(n) * float64(k) * float64(b.N*len(precision.terms())) / used / 1e9
				b.ReportMetric(rate, "GFLOP/s/core")
				b.ReportMetric(100*rate/ceiling, "%ceiling")
			})
		}
	}
}

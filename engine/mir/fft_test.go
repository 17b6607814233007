package mir

import (
	"math"
	"math/cmplx"
	"testing"

	"github.com/stretchr/testify/require"
	gonum "gonum.org/v1/gonum/dsp/fourier"
)

func TestFourierAgreesWithGonum(t *testing.T) {
	t.Parallel()
	for _, size := range []int{2, 4, 8, 32, 512, 2048} {
		f, x := newFourier(size), make([]complex128, size)
		for i := range x {
			x[i] = cmplx.Rect(1+float64(i%7), float64(i*i))
		}
		want := gonum.NewCmplxFFT(size).Coefficients(nil, x)
		copy(f.a, x)
		for i, v := range f.transform() {
			require.InDelta(t, 0, cmplx.Abs(v-want[i]), 1e-9*float64(size))
		}
	}
}

func TestSpectrumAgreesWithGonum(t *testing.T) {
	t.Parallel()
	const size = 1024
	x, ones, got := make([]float64, size), make([]float64, size), make([]float64, size/2+1)
	for i := range x {
		x[i], ones[i] = math.Sin(float64(i*i)), 1
	}
	newSpectrum(size).magnitudes(x, ones, got)
	for i, v := range gonum.NewFFT(size).Coefficients(nil, x) {
		require.InDelta(t, cmplx.Abs(v), got[i], 1e-9)
	}
}

func BenchmarkFourier(b *testing.B) {
	const size = 1024
	x := make([]float64, size)
	for i := range x {
		x[i] = math.Sin(float64(i * i))
	}
	b.Run("ours", func(b *testing.B) {
		s, out := newSpectrum(size), make([]float64, size/2+1)
		for b.Loop() {
			s.magnitudes(x, x, out)
		}
	})
	b.Run("gonum", func(b *testing.B) {
		f, out := gonum.NewFFT(size), make([]complex128, size/2+1)
		for b.Loop() {
			f.Coefficients(out, x)
		}
	})
}

package mir

import (
	"math"
	"math/cmplx"
)

// fourier is the discrete Fourier transform of a fixed size, a power of two: Stockham's algorithm in steps of four (Van Loan, Computational Frameworks for the Fast Fourier
// Transform, 1992, section 1.7). It is ours because most of the analysis's time goes here, and it takes about half the time of gonum's (BenchmarkFourier).
type fourier struct {
	size    int
	twiddle []complex128 // exp(-2 pi i k / size)
	a, b    []complex128
}

func newFourier(size int) *fourier {
	f := &fourier{size: size, twiddle: make([]complex128, size), a: make([]complex128, size), b: make([]complex128, size)}
	for k := range f.twiddle {
		f.twiddle[k] = cmplx.Rect(1, -2*math.Pi*float64(k)/float64(size))
	}
	return f
}

// transform returns the transform of f.a, valid until the next call; it overwrites f.a.
func (f *fourier) transform() []complex128 {
	x, y := f.a, f.b
	n, stride := f.size, 1
	for ; n >= 4; n, stride = n/4, stride*4 {
		f.fours(n/4, stride, x, y)
		x, y = y, x
	}
	if n == 2 {
		for q := range stride {
			a, b := x[q], x[q+stride]
			y[q], y[q+stride] = a+b, a-b
		}
		x = y
	}
	return x
}

// fours is one step: quarters of the remaining size, of which stride transforms run side by side.
func (f *fourier) fours(quarter, stride int, x, y []complex128) {
	for p := range quarter {
		w1, w2, w3 := f.twiddle[p*stride], f.twiddle[2*p*stride], f.twiddle[3*p*stride]
		x0 := x[stride*p:][:stride]
		x1 := x[stride*(p+quarter):][:stride]
		x2 := x[stride*(p+2*quarter):][:stride]
		x3 := x[stride*(p+3*quarter):][:stride]
		y0 := y[stride*4*p:][:stride]
		y1 := y[stride*(4*p+1):][:stride]
		y2 := y[stride*(4*p+2):][:stride]
		y3 := y[stride*(4*p+3):][:stride]
		for q := range x0 {
			a, b, c, d := x0[q], x1[q], x2[q], x3[q]
			sum, difference := a+c, a-c
			other, turned := b+d, b-d
			turned = complex(imag(turned), -real(turned)) // times -i
			y0[q] = sum + other
			y1[q] = w1 * (difference + turned)
			y2[q] = w2 * (sum - other)
			y3[q] = w3 * (difference - turned)
		}
	}
}

// spectrum is the magnitude spectrum of real frames of twice the transform's size.
type spectrum struct {
	half *fourier
	turn []complex128 // exp(-pi i k / half.size)
}

func newSpectrum(size int) *spectrum {
	s := &spectrum{half: newFourier(size / 2), turn: make([]complex128, size/2+1)}
	for k := range s.turn {
		s.turn[k] = cmplx.Rect(1, -2*math.Pi*float64(k)/float64(size))
	}
	return s
}

// magnitudes fills out, size/2+1 values, with those of x under a window: even samples are taken as real parts and odd ones as imaginary parts (Press and others,
// Numerical Recipes, section 12.3).
func (s *spectrum) magnitudes(x, window, out []float64) {
	n := s.half.size
	for i := range s.half.a {
		s.half.a[i] = complex(x[2*i]*window[2*i], x[2*i+1]*window[2*i+1])
	}
	z := s.half.transform()
	for k := range out {
		a, b := z[k&(n-1)], z[(n-k)&(n-1)]
		even := complex(real(a)+real(b), imag(a)-imag(b))
		odd := complex(imag(a)+imag(b), real(b)-real(a))
		v := even + s.turn[k]*odd
		out[k] = 0.5 * math.Sqrt(real(v)*real(v)+imag(v)*imag(v))
	}
}

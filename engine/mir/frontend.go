package mir

import "math"

// halver low-passes a stream and keeps every second sample: a half-band filter, a sinc of 2*reach+1 taps under a Blackman window
// (Oppenheim and Schafer, Discrete-Time Signal Processing, section 7.2). Its stop-band lies about 74 dB down.
type halver struct {
	taps []float64 // odd taps 1, 3, 5, ...; the centre tap is 0.5, the other even taps are 0
	buf  []float64
	out  []float64
}

const halverTaps = 12

func newHalver() *halver {
	h := &halver{taps: make([]float64, halverTaps)}
	sum, reach := 0.0, float64(2*halverTaps)
	for i := range h.taps {
		n := float64(2*i + 1)
		window := 0.42 + 0.5*math.Cos(math.Pi*n/reach) + 0.08*math.Cos(2*math.Pi*n/reach)
		h.taps[i] = math.Sin(math.Pi*n/2) / (math.Pi * n) * window
		sum += h.taps[i]
	}
	for i := range h.taps {
		h.taps[i] *= 0.25 / sum // both sides together are the other half of a gain of 1
	}
	h.buf = make([]float64, h.reach())
	return h
}

// reach is how many samples the filter sees on each side.
func (h *halver) reach() int { return 2*len(h.taps) - 1 }

// process takes samples in and returns those that can be made so far, valid until the next call. Output n is centred on input 2n.
func (h *halver) process(x []float64) []float64 {
	h.buf = append(h.buf, x...)
	h.out = h.out[:0]
	reach, at := h.reach(), 0
	for ; at+2*reach < len(h.buf); at += 2 {
		part := h.buf[at : at+2*reach+1]
		sum := 0.5 * part[reach]
		for k, tap := range h.taps {
			sum += tap * (part[reach-2*k-1] + part[reach+2*k+1])
		}
		h.out = append(h.out, sum)
	}
	h.buf = h.buf[:copy(h.buf, h.buf[at:])]
	return h.out
}

// framer cuts a stream into overlapping frames and hands over the magnitude spectrum of each: under a Hann window.
// Frame i is centred on sample i*hop; what lies before the start and after the end is silence. A sine of amplitude 1 has a peak of 1.
type framer struct {
	size, hop int
	window    []float64
	transform *spectrum
	buf       []float64
	magnitude []float64
	frame     func(magnitude []float64)
}

func newFramer(size, hop int, frame func([]float64)) *framer {
	f := &framer{
		size: size, hop: hop, frame: frame, transform: newSpectrum(size), window: make([]float64, size), magnitude: make([]float64, size/2+1),
	}
	for i := range f.window {
		f.window[i] = (1 - math.Cos(2*math.Pi*float64(i)/float64(size))) * 2 / float64(size)
	}
	f.buf = make([]float64, size/2)
	return f
}

func (f *framer) process(x []float64) {
	f.buf = append(f.buf, x...)
	at := 0
	for ; at+f.size <= len(f.buf); at += f.hop {
		f.transform.magnitudes(f.buf[at:at+f.size], f.window, f.magnitude)
		f.frame(f.magnitude)
	}
	f.buf = f.buf[:copy(f.buf, f.buf[at:])]
}

// flush makes the frames that need silence after the end.
func (f *framer) flush() { f.process(make([]float64, f.size/2)) }

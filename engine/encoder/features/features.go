// Package features turns a window of audio into the matrices that the lark-nano encoder reads: a semitone spectrogram, a mel
// spectrogram with its onsets, local tempograms, the pulse of the whole, and what engine/mir hears. It is the only implementation: the trainer reads what cmd/features wrote.
package features

import (
	"errors"
	"fmt"
	"math"

	"gonum.org/v1/gonum/dsp/fourier"
)

// Sizes of the audio and of the matrices. docs/lark-nano.md explains them.
const (
	SampleRate = 44100           // Hz, of the PCM that goes in
	MinSamples = SampleRate      // 1 s
	MaxSamples = 25 * SampleRate // 25 s

	Semitones = 84 // columns of Features.Semitones, F#1 upwards
	MelBands  = 40
	MelCols   = 2 * MelBands // columns of Features.Mel: means, then mean onsets
	Lags      = 104          // rows of one tempogram
	Groups    = 4            // columns of one tempogram: groups of mel bands

	FramesPerTempogram = 16
	LagsPerOctave      = 24 // of tempograms and of the pulse

	halfRate      = SampleRate / 2
	melHop        = 512 // samples at halfRate
	melPerFrame   = 4
	frameHop      = melHop * melPerFrame
	semitoneFFT   = 8192
	melFFT        = 1024
	silencePeak   = 33   // of 32768: about 0.001 of full scale
	largeOffset   = 3277 // of 32768: 0.1 of full scale
	targetPeak    = 0.9
	compression   = 1000.0
	lowestHz      = 46.249302838954 // F#1, at A = 440 Hz
	melLowestHz   = 30.0
	melHighestHz  = 10500.0
	bandsPerGroup = MelBands / Groups
)

// FrameRate is the number of feature frames, and of encoder frames, per second.
const FrameRate = float64(halfRate) / frameHop

// Errors for windows that cannot be used.
var (
	ErrTooShort = errors.New("window is shorter than 1 s")
	ErrTooLong  = errors.New("window is longer than 25 s")
)

// Matrix is a dense row-major matrix.
type Matrix struct {
	Rows, Cols int
	Data       []float32
}

// NewMatrix returns a zero matrix.
func NewMatrix(rows, cols int) Matrix {
	return Matrix{Rows: rows, Cols: cols, Data: make([]float32, rows*cols)}
}

// Row returns row i, sharing memory.
func (m Matrix) Row(i int) []float32 { return m.Data[i*m.Cols : (i+1)*m.Cols] }

// Features holds what the encoder reads of one window.
type Features struct {
	Semitones  Matrix // [T, 84] log magnitudes
	Mel        Matrix // [T, 80] log magnitudes and their mean positive differences
	Tempograms Matrix // [ceil(T/16)*104, 4] autocorrelations of onset strength, -1 to about 1
	Pulse      Matrix // [136, 8] autocorrelations over the whole window, -1 to about 1
	// Keys [12, 56] and Beats [136] are what engine/mir hears of the keys on each tonic, F# first, and of a beat at each lag of the pulse; zeros in silence.
	Keys  Matrix
	Beats []float32
}

// Frames returns the number of frames that a window of the given number of samples gives.
func Frames(samples int) int { return samples / 2 / frameHop }

// Extractor computes features. It holds tables only and may be used from several goroutines.
type Extractor struct {
	melBands                  []band
	semitoneWindow, melWindow []float64
	lagTable                  []lag // of a tempogram, in mel frames
	pulseLags, slowLags       []lag // of the pulse, in mel frames and in frames
}

// New returns an Extractor.
func New() *Extractor {
	return &Extractor{
		melBands:       melBank(),
		semitoneWindow: hann(semitoneFFT),
		melWindow:      hann(melFFT),
		lagTable:       lagBank(Lags, melFramesPerSec),
		pulseLags:      lagBank(PulseLags, melFramesPerSec),
		slowLags:       lagBank(PulseLags, FrameRate),
	}
}

// Extract computes the features of mono PCM at 44.1 kHz, 1 to 25 s of it.
func (e *Extractor) Extract(pcm []int16) (*Features, error) {
	if len(pcm) < MinSamples {
		return nil, fmt.Errorf("extracting features of %d samples: %w", len(pcm), ErrTooShort)
	}
	if len(pcm) > MaxSamples {
		return nil, fmt.Errorf("extracting features of %d samples: %w", len(pcm), ErrTooLong)
	}
	frames := Frames(len(pcm))
	level := offset(pcm)
	gain := scale(pcm, level)
	audio := halve(pcm, level, gain)
	keys, beats := NewMatrix(pitchClasses, KeyCols), make([]float32, PulseLags)
	if gain > 0 {
		keys, beats = hear(pcm)
	}
	mel := e.spectrogram(audio, frames*melPerFrame, melHop, e.melWindow, e.melBands)
	semitones, rises := e.semitones(audio, frames), bandOnsets(mel)
	groups := groupOnsets(rises)
	return &Features{
		Semitones:  semitones,
		Mel:        poolMel(mel, frames),
		Tempograms: tempograms(groups, e.lagTable, frames),
		Pulse:      e.pulse(rises, groups, semitones),
		Keys:       keys,
		Beats:      beats,
	}, nil
}

// spectrogram returns log(1+1000m) of the banded magnitude spectrum, a sine of amplitude 1 having m = 1 in its bin.
func (e *Extractor) spectrogram(audio []float64, rows, hop int, window []float64, bands []band) Matrix {
	out := NewMatrix(rows, len(bands))
	spectra(audio, rows, hop, window, func(r int, magnitude []float64) { level(out.Row(r), bands, magnitude) })
	return out
}

// semitones returns the spectrogram in bands that lie where the music's own semitones lie.
func (e *Extractor) semitones(audio []float64, rows int) Matrix {
	reach := int(math.Ceil(lowestHz*math.Exp2((Semitones+1.0)/12)*semitoneFFT/halfRate)) + 1
	kept, tuned := NewMatrix(rows, reach), tuning{}
	spectra(audio, rows, frameHop, e.semitoneWindow, func(r int, magnitude []float64) {
		tuned.add(magnitude)
		for i := range kept.Row(r) {
			kept.Row(r)[i] = float32(magnitude[i])
		}
	})
	bands, out, magnitude := semitoneBank(tuned.semitones()), NewMatrix(rows, Semitones), make([]float64, reach)
	for r := range rows {
		for i, m := range kept.Row(r) {
			magnitude[i] = float64(m)
		}
		level(out.Row(r), bands, magnitude)
	}
	return out
}

// level fills a row with the levels of the bands.
func level(row []float32, bands []band, magnitude []float64) {
	for b, weights := range bands {
		row[b] = weights.level(magnitude)
	}
}

// spectra calls use with the magnitudes of each row's window, which lies about the middle of its hop. The magnitudes are overwritten by the next row.
func spectra(audio []float64, rows, hop int, window []float64, use func(row int, magnitude []float64)) {
	size := len(window)
	fft, in := fourier.NewFFT(size), make([]float64, size)
	spectrum, magnitude := make([]complex128, size/2+1), make([]float64, size/2+1)
	for r := range rows {
		first := r*hop + hop/2 - size/2
		for i := range in {
			if at := first + i; at >= 0 && at < len(audio) {
				in[i] = audio[at] * window[i]
			} else {
				in[i] = 0
			}
		}
		absolute(fft.Coefficients(spectrum, in), magnitude)
		use(r, magnitude)
	}
}

// poolMel joins each four mel frames into one row: means of the levels, then means of their positive differences.
func poolMel(mel Matrix, frames int) Matrix {
	out := NewMatrix(frames, MelCols)
	for t := range frames {
		row := out.Row(t)
		for k := range melPerFrame {
			m := t*melPerFrame + k
			for b, v := range mel.Row(m) {
				row[b] += v / melPerFrame
				if m > 0 {
					row[MelBands+b] += max(0, v-mel.Row(m - 1)[b]) / melPerFrame
				}
			}
		}
	}
	return out
}

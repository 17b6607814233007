package audio

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// WarningCode names a kind of fault of a file that was decoded nevertheless.
type WarningCode string

// The faults. docs/adr/0014-damage-is-flagged.md says when each is given.
const (
	// Truncated: the file ends in the middle of something, or before the length that its container tells.
	Truncated WarningCode = "truncated"
	// DamagedFrames: bytes in the middle could not be decoded and are left out.
	DamagedFrames WarningCode = "damaged_frames"
	// SampleRateChanged: the rate changes inside the file; each part is resampled from its own.
	SampleRateChanged WarningCode = "sample_rate_changed"
	// FormatChanged: the sample size or the number of channels changes inside the file.
	FormatChanged WarningCode = "format_changed"
	// StaleHeader: the header tells less than is there, or contradicts itself; what is there is read.
	StaleHeader WarningCode = "stale_header"
	// LengthDisagrees: the header tells more than is there, and the file ends cleanly.
	LengthDisagrees WarningCode = "length_disagrees"
	// ChecksumDisagrees: the decoded sound is not what the file's checksum was made of.
	ChecksumDisagrees WarningCode = "checksum_disagrees"
	// NotFinite: samples are no numbers (NaN, infinity); they are silenced.
	NotFinite WarningCode = "not_finite"
	// ChannelsCancel: the mean of the channels is nearly silent; the louder channel is taken.
	ChannelsCancel WarningCode = "channels_cancel"
	// Clipped: more than 1 % of the sound lies at full scale.
	Clipped WarningCode = "clipped"
	// DCOffset: the sound swings around another level than 0, by more than a tenth of full scale.
	DCOffset WarningCode = "dc_offset"
	// TooQuiet: the loudest swing stays below -60 dB of full scale: silence, or nearly.
	TooQuiet WarningCode = "too_quiet"
	// InexactStereo: frames of an mp3 in joint stereo are decoded a little wrong, since ffmpeg is not installed. The file is sound.
	InexactStereo WarningCode = "inexact_stereo"
)

// Damage tells whether the code says that the file is at fault. The others speak of the sound, or of how it is decoded here.
func (c WarningCode) Damage() bool {
	return !slices.Contains([]WarningCode{ChannelsCancel, Clipped, DCOffset, TooQuiet, InexactStereo}, c)
}

// Warning is a fault of a file that was decoded nevertheless.
type Warning struct {
	Code WarningCode
	// AtS is where it is met first, in seconds of the decoded track. 0 also stands for faults without a place.
	AtS     float64
	Message string
}

// Bounds on what is kept of a file's faults.
const (
	maxMarks = 1024
	maxText  = 300     // bytes
	maxPlace = 1 << 40 // samples; far beyond any track
)

// mark is one fault at one place, which is noPlace for faults that concern the whole track.
type mark struct {
	code WarningCode
	at   int64 // samples at 44.1 kHz
	text string
}

const noPlace = -1

// Faults are the places where a track is at fault. The zero value is a sound track.
type Faults struct {
	marks []mark
	count map[WarningCode]int
	// MissingS is how many seconds of the track the file is known to lack.
	MissingS float64
	// toldS is the length in seconds that an inspector has read from the file's header; 0 if none has.
	toldS float64
	// opusLinks counts the streams that follow the first one of an Opus file.
	opusLinks int
}

// add notes a fault at a time in seconds of the decoded track. Only the first faults are kept with their places, all are counted.
func (f *Faults) add(code WarningCode, seconds float64, format string, args ...any) {
	at := int64(math.Round(max(0, min(seconds*SampleRate, maxPlace))))
	f.put(mark{code: code, at: at, text: fmt.Sprintf(format, args...)})
}

// whole notes a fault of the whole track.
func (f *Faults) whole(code WarningCode, format string, args ...any) {
	f.put(mark{code: code, at: noPlace, text: fmt.Sprintf(format, args...)})
}

func (f *Faults) put(m mark) {
	if f.count == nil {
		f.count = map[WarningCode]int{}
	}
	m.text = m.text[:min(len(m.text), maxText)]
	f.count[m.code]++
	if len(f.marks) < maxMarks || f.count[m.code] == 1 { // every kind is told, however many places another kind has
		f.marks = append(f.marks, m)
	}
}

// has tells whether a fault of this kind was met.
func (f *Faults) has(code WarningCode) bool { return f.count[code] > 0 }

// Warnings are the faults of the track, one for each code, by their first place.
func (f *Faults) Warnings() []Warning { return f.summary(func(mark) bool { return true }) }

// Within are the faults of damage that lie between two samples of the track, or that may lie anywhere.
func (f *Faults) Within(start, end int64) []Warning {
	return f.summary(func(m mark) bool {
		return m.code.Damage() && (m.at == noPlace || m.at >= start && m.at <= end)
	})
}

func (f *Faults) summary(take func(mark) bool) []Warning {
	var out []Warning
	count := map[WarningCode]int{}
	for _, m := range f.marks {
		if !take(m) {
			continue
		}
		if count[m.code]++; count[m.code] == 1 {
			out = append(out, Warning{Code: m.code, AtS: float64(max(0, m.at)) / SampleRate, Message: m.text})
		}
	}
	for i := range out {
		if n := count[out[i].Code]; n > 1 {
			out[i].Message += fmt.Sprintf(" (the first of %d such places)", n)
		}
	}
	slices.SortStableFunc(out, func(a, b Warning) int { return cmp.Compare(a.AtS, b.AtS) })
	return out
}

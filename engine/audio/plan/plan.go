// Package plan decides which stretches of a track become windows.
package plan

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strings"

	"github.com/larkstream/larkstream/engine/audio"
)

// Rates and lengths, in samples of 44.1 kHz mono PCM.
const (
	SampleRate = 44100
	// MaxWindows is how many windows a track may have.
	MaxWindows = 4096
	// MaxWindow is the longest window: 25 s.
	MaxWindow = 25 * SampleRate
	// minWindow is the shortest window that a job may name: 0.1 s.
	minWindow = SampleRate / 10
	// slack is how far a named window may reach past the end of the track, where it is cut: times are rounded by people and
	// players.
	slack = SampleRate / 10

	autoStart = 30 * SampleRate
	autoLong  = 60 * SampleRate
)

// ErrOutOfRange says that a named window does not lie in the track, or is longer than 25 s.
var ErrOutOfRange = errors.New("window out of range")

// Mode is how the windows of a track are chosen.
type Mode string

// The modes.
const (
	// Auto takes one window: seconds 30 to 55 of a track of at least 60 s, else the beginning.
	Auto Mode = "auto"
	// All takes windows one after another, the last one aligned to the end, so that all of the track is heard.
	All Mode = "all"
	// Explicit takes the windows that the job names.
	Explicit Mode = "explicit"
)

// Span is a stretch of a track, in seconds.
type Span struct{ StartS, EndS float64 }

// Range is a stretch of a track, in samples: Start inclusive, End exclusive.
type Range struct{ Start, End int64 }

// Len is the number of samples.
func (r Range) Len() int64 { return r.End - r.Start }

// Span is the stretch in seconds.
func (r Range) Span() Span {
	return Span{StartS: Seconds(r.Start), EndS: Seconds(r.End)}
}

// Seconds converts samples.
func Seconds(samples int64) float64 { return float64(samples) / SampleRate }

// FromSpan is the inverse of Range.Span, exact for its results.
func FromSpan(s Span) Range {
	return Range{Start: samples(s.StartS), End: samples(s.EndS)}
}

func samples(seconds float64) int64 {
	return int64(math.Round(min(seconds, 1e6) * SampleRate))
}

// Rule is how the windows of a job are chosen.
type Rule struct {
	Mode Mode
	// Spans are the windows of mode Explicit.
	Spans []Span
	// Heard is how much of a window the encoder hears, in samples: with mode All windows follow each other at
	// that distance, so that all of the track is heard.
	Heard int64
}

// NewRule makes the rule of a job for an encoder that hears spanS seconds of a window.
func NewRule(mode Mode, spans []Span, spanS float64) Rule {
	return Rule{Mode: mode, Spans: spans, Heard: min(samples(spanS), MaxWindow)}
}

// Hash names the rule: with the digest of the audio it names the plan. It changes with the preprocessing.
func (r Rule) Hash() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s PLAN_MODE_%s", audio.Revision, strings.ToUpper(string(r.Mode)))
	switch r.Mode {
	case All:
		fmt.Fprintf(h, " %d", r.Heard)
	case Explicit:
		for _, s := range r.Spans {
			w := FromSpan(s)
			fmt.Fprintf(h, " %d-%d", w.Start, w.End)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Keep is how many samples from the start of the track the windows can lie in.
func (r Rule) Keep() int64 {
	switch r.Mode {
	case Auto:
		return autoStart + MaxWindow
	case Explicit:
		last := int64(0)
		for _, s := range r.Spans {
			last = max(last, FromSpan(s).End)
		}
		return last
	}
	return math.MaxInt64
}

// Windows are the windows of a track of total samples, which must be positive.
func (r Rule) Windows(total int64) ([]Range, error) {
	switch r.Mode {
	case Auto:
		return []Range{autoWindow(total)}, nil
	case All:
		return r.all(total)
	case Explicit:
		return r.explicit(total)
	}
	return nil, fmt.Errorf("planning windows: mode %q is not known", r.Mode)
}

// autoWindow is the rule of LLark's own preprocessing: seconds 30 to 55 of a track of at least 60 s, else the first 25 s
// (spotify-research/llark, scripts/preprocessing/crop_audio.py, which cuts 30 s of which 25 are used).
func autoWindow(total int64) Range {
	if total >= autoLong {
		return Range{Start: autoStart, End: autoStart + MaxWindow}
	}
	return Range{End: min(total, MaxWindow)}
}

// all covers the track. Only a track shorter than a window gives a shorter one; otherwise the last is aligned to the end
// and overlaps the one before, because models invent things about a tail of silence.
func (r Rule) all(total int64) ([]Range, error) {
	if r.Heard <= 0 {
		return nil, fmt.Errorf("planning windows: the encoder hears %d samples", r.Heard)
	}
	var windows []Range
	for start := int64(0); start+r.Heard < total; start += r.Heard {
		windows = append(windows, Range{Start: start, End: start + r.Heard})
	}
	windows = append(windows, Range{Start: max(0, total-r.Heard), End: total})
	if len(windows) > MaxWindows {
		return nil, fmt.Errorf("%w: the track has %d windows, the most are %d", ErrOutOfRange, len(windows), MaxWindows)
	}
	return windows, nil
}

func (r Rule) explicit(total int64) ([]Range, error) {
	windows := make([]Range, len(r.Spans))
	for i, s := range r.Spans {
		w := FromSpan(s)
		if w.End > total && w.End <= total+slack {
			w.End = total
		}
		switch {
		case w.Len() > MaxWindow:
			return nil, fmt.Errorf("%w: %s is longer than 25 s", ErrOutOfRange, text(s))
		case w.Start < 0 || w.End > total:
			return nil, fmt.Errorf("%w: %s does not lie in the track of %.2f s", ErrOutOfRange, text(s), Seconds(total))
		case w.Len() < minWindow:
			return nil, fmt.Errorf("%w: %s is shorter than 0.1 s", ErrOutOfRange, text(s))
		}
		windows[i] = w
	}
	return windows, nil
}

func text(s Span) string { return fmt.Sprintf("%g to %g s", s.StartS, s.EndS) }

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
	"github.com/larkstream/larkstream/engine/model"
)

// SampleRate is the sample rate of PCM for encoders that name none, in Hz.
const SampleRate = audio.SampleRate

// MaxWindows is how many windows a track may have.
const MaxWindows = 4096

// Lengths in seconds.
const (
	// LeastWindowS is the longest window of encoders that hear less: LLark's windows are 25 s, of which its encoder hears 23.777 s.
	LeastWindowS = 25
	// minWindowS is the shortest window that a job may name.
	minWindowS = 0.1
	// slackS is how far a named window may reach past the end of the track, where it is cut: times are rounded by people and
	// players.
	slackS = 0.1

	autoStartS = 30
	autoLongS  = 60
)

// ErrOutOfRange says that a named window does not lie in the track, or is longer than the encoder's windows.
var ErrOutOfRange = errors.New("window out of range")

// Mode is how the windows of a track are chosen.
type Mode string

// The modes.
const (
	// Auto takes one window: from second 30 of a track of at least 60 s, else the beginning.
	Auto Mode = "auto"
	// All takes windows one after another, so that all of the track is heard.
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

// Span is the stretch in seconds, at a sample rate in Hz.
func (r Range) Span(rate int) Span {
	return Span{StartS: Seconds(r.Start, rate), EndS: Seconds(r.End, rate)}
}

// Seconds converts samples at a sample rate in Hz.
func Seconds(samples int64, rate int) float64 { return float64(samples) / float64(rate) }

// FromSpan is the inverse of Range.Span, exact for its results.
func FromSpan(s Span, rate int) Range {
	return Range{Start: samples(s.StartS, rate), End: samples(s.EndS, rate)}
}

func samples(seconds float64, rate int) int64 {
	return int64(math.Round(min(seconds, 1e6) * float64(rate)))
}

// Hearing is what an encoder hears.
type Hearing struct {
	// SpanS is how much of a window it hears, in seconds.
	SpanS float64
	// Rate is the sample rate of the PCM that it hears, in Hz.
	Rate int
	// ShortEnd says that a window may end with the track, however short it is. Other encoders take a tail of silence for music: their last window is
	// aligned to the end of the track.
	ShortEnd bool
}

// HearingOf is what the encoder of a bundle hears.
func HearingOf(e model.Encoder) Hearing {
	return Hearing{SpanS: e.SpanS, Rate: e.Rate(), ShortEnd: e.HearsShortEnds()}
}

// Rule is how the windows of a job are chosen.
type Rule struct {
	Mode Mode
	// Spans are the windows of mode Explicit.
	Spans []Span
	Hearing
	// Heard is how much of a window the encoder hears, in samples: with mode All windows follow each other at
	// that distance, so that all of the track is heard.
	Heard int64
}

// NewRule makes the rule of a job for an encoder.
func NewRule(mode Mode, spans []Span, h Hearing) Rule {
	return Rule{Mode: mode, Spans: spans, Hearing: h, Heard: samples(h.SpanS, h.Rate)}
}

// Window is the longest window, in samples.
func (r Rule) Window() int64 { return LongestWindow(r.Hearing) }

// LongestWindow is the longest window of an encoder, in samples.
func LongestWindow(h Hearing) int64 { return samples(max(h.SpanS, LeastWindowS), h.Rate) }

func (r Rule) samples(seconds float64) int64 { return samples(seconds, r.Rate) }

// Hash names the rule: with the digest of the audio it names the plan. It changes with the preprocessing.
func (r Rule) Hash() string {
	h := sha256.New()
	fmt.Fprintf(h, "%s PLAN_MODE_%s", audio.Revision, strings.ToUpper(string(r.Mode)))
	if r.Rate != SampleRate {
		fmt.Fprintf(h, " %d Hz %d %v", r.Rate, r.Window(), r.ShortEnd)
	}
	switch r.Mode {
	case All:
		fmt.Fprintf(h, " %d", r.Heard)
	case Explicit:
		for _, s := range r.Spans {
			w := FromSpan(s, r.Rate)
			fmt.Fprintf(h, " %d-%d", w.Start, w.End)
		}
	}
	return hex.EncodeToString(h.Sum(nil))
}

// Keep is how many samples from the start of the track the windows can lie in.
func (r Rule) Keep() int64 {
	switch r.Mode {
	case Auto:
		return r.samples(autoStartS) + r.Window()
	case Explicit:
		last := int64(0)
		for _, s := range r.Spans {
			last = max(last, FromSpan(s, r.Rate).End)
		}
		return last
	}
	return math.MaxInt64
}

// Windows are the windows of a track of total samples, which must be positive.
func (r Rule) Windows(total int64) ([]Range, error) {
	switch r.Mode {
	case Auto:
		return []Range{r.auto(total)}, nil
	case All:
		return r.all(total)
	case Explicit:
		return r.explicit(total)
	}
	return nil, fmt.Errorf("planning windows: mode %q is not known", r.Mode)
}

// auto is the rule of LLark's own preprocessing: seconds 30 to 55 of a track of at least 60 s, else the first 25 s
// (spotify-research/llark, scripts/preprocessing/crop_audio.py, which cuts 30 s of which 25 are used). Encoders that hear more get longer windows.
func (r Rule) auto(total int64) Range {
	if start := r.samples(autoStartS); total >= r.samples(autoLongS) {
		return Range{Start: start, End: min(start+r.Window(), total)}
	}
	return Range{End: min(total, r.Window())}
}

// all covers the track. Only a track shorter than a window gives a shorter one, or the end of the track where the encoder takes that. Otherwise the
// last window is aligned to the end and overlaps the one before, because models invent things about a tail of silence. An end of less than a tenth of
// a second is left out: it makes no frame.
func (r Rule) all(total int64) ([]Range, error) {
	if r.Heard <= 0 {
		return nil, fmt.Errorf("planning windows: the encoder hears %d samples", r.Heard)
	}
	var windows []Range
	start := int64(0)
	for ; start+r.Heard < total; start += r.Heard {
		windows = append(windows, Range{Start: start, End: start + r.Heard})
	}
	switch {
	case !r.ShortEnd:
		windows = append(windows, Range{Start: max(0, total-r.Heard), End: total})
	case start == 0 || total-start >= r.samples(minWindowS):
		windows = append(windows, Range{Start: start, End: total})
	}
	if len(windows) > MaxWindows {
		return nil, fmt.Errorf("%w: the track has %d windows, the most are %d", ErrOutOfRange, len(windows), MaxWindows)
	}
	return windows, nil
}

func (r Rule) explicit(total int64) ([]Range, error) {
	windows := make([]Range, len(r.Spans))
	for i, s := range r.Spans {
		w := FromSpan(s, r.Rate)
		if w.End > total && w.End <= total+r.samples(slackS) {
			w.End = total
		}
		switch {
		case w.Len() > r.Window():
			return nil, fmt.Errorf("%w: %s is longer than %g s", ErrOutOfRange, text(s), Seconds(r.Window(), r.Rate))
		case w.Start < 0 || w.End > total:
			return nil, fmt.Errorf("%w: %s does not lie in the track of %.2f s", ErrOutOfRange, text(s), Seconds(total, r.Rate))
		case w.Len() < r.samples(minWindowS):
			return nil, fmt.Errorf("%w: %s is shorter than 0.1 s", ErrOutOfRange, text(s))
		}
		windows[i] = w
	}
	return windows, nil
}

func text(s Span) string { return fmt.Sprintf("%g to %g s", s.StartS, s.EndS) }

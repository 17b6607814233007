package analyse

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/larkstream/larkstream/engine/mir"
	"github.com/larkstream/larkstream/shared/event"
)

// Report is a file's JSON object. What does not apply, or is minus infinity, is null or left out.
type Report struct {
	File     string   `json:"file"`
	Offset   float64  `json:"offset"`
	Seconds  float64  `json:"seconds"`
	Content  Content  `json:"content"`
	Tempo    *Tempo   `json:"tempo"`
	Metre    *Named   `json:"metre"`
	Key      *Key     `json:"key"`
	Loudness Loudness `json:"loudness"`
	Levels   Levels   `json:"levels"`
	Onsets   float64  `json:"onsets_per_second"`
	Beats    []Beat   `json:"beats,omitempty"`
	Chords   []Chord  `json:"chords,omitempty"`
	// Faults have the form that they have in outcomes.
	event.Faults
}

// Named is a reading and how likely it is to be right.
type Named struct {
	Name       string  `json:"name"`
	Confidence float64 `json:"confidence"`
}

// Content is what a recording is: music, noise, speech, tone or silence.
type Content struct {
	Kind       mir.Kind `json:"kind"`
	Confidence float64  `json:"confidence"`
}

// Tempo in beats per minute.
type Tempo struct {
	BPM          float64   `json:"bpm"`
	Confidence   float64   `json:"confidence"`
	Steady       bool      `json:"steady"`
	Low          float64   `json:"low"`
	High         float64   `json:"high"`
	Pulse        float64   `json:"pulse"`
	Alternatives []Reading `json:"alternatives"`
}

// Reading is another tempo that the music may have.
type Reading struct {
	BPM        float64 `json:"bpm"`
	Confidence float64 `json:"confidence"`
}

// Key with the next likely one and the tuning.
type Key struct {
	Named
	RunnerUp    Named   `json:"runner_up"`
	TuningCents float64 `json:"tuning_cents"`
}

// Loudness as the file is played, by EBU R 128.
type Loudness struct {
	Integrated *float64 `json:"integrated_lufs"`
	Range      float64  `json:"range_lu"`
	Momentary  *float64 `json:"max_momentary_lufs"`
	ShortTerm  *float64 `json:"max_short_term_lufs"`
}

// Levels of the samples.
type Levels struct {
	Peak        *float64 `json:"peak_dbfs"`
	ClippedRuns int64    `json:"clipped_runs"`
	Clipped     float64  `json:"clipped"`
	Silent      float64  `json:"silent"`
	LeadIn      float64  `json:"lead_in_seconds"`
	LeadOut     float64  `json:"lead_out_seconds"`
}

// Beat is one beat: seconds from the start of the file and its place in the bar, 1 the first.
type Beat struct {
	Seconds float64 `json:"t"`
	InBar   int     `json:"in_bar"`
}

// Chord from one beat to a later one; the name is N where no triad was heard.
type Chord struct {
	From float64 `json:"from"`
	To   float64 `json:"to"`
	Name string  `json:"name"`
}

// NewReport makes the object of a file.
func NewReport(m Measured, beats []mir.Beat) Report {
	r := Report{
		File: m.File, Offset: round(m.Offset, 3), Seconds: round(m.Seconds, 3), Content: Content{m.Content.Kind, round(m.Content.Confidence, 3)},
		Onsets: round(m.OnsetsPerSecond, 2), Chords: Merge(beats, m.Offset+m.Seconds),
		Faults: event.Faults{MissingS: round(m.Faults.MissingS, 3)},
	}
	for _, w := range m.Faults.Warnings() {
		r.Warnings = append(r.Warnings, event.Warning{Code: string(w.Code), AtS: round(w.AtS, 3), Message: w.Message})
	}
	if t := m.Tempo; t.BPM > 0 {
		r.Tempo = &Tempo{
			BPM: round(t.BPM, 2), Confidence: round(t.Confidence, 3), Steady: t.Steady, Low: round(t.Low, 1), High: round(t.High, 1), Pulse: round(t.Pulse, 3),
			Alternatives: []Reading{},
		}
		for _, a := range t.Alternatives {
			r.Tempo.Alternatives = append(r.Tempo.Alternatives, Reading{round(a.BPM, 1), round(a.Confidence, 3)})
		}
	}
	if m.Metre.Name != "" {
		r.Metre = &Named{m.Metre.Name, round(m.Metre.Confidence, 3)}
	}
	if m.Key.Confidence > 0 {
		r.Key = &Key{
			Named{m.Key.String(), round(m.Key.Confidence, 3)}, Named{m.RunnerUp.String(), round(m.RunnerUp.Confidence, 3)}, round(m.TuningCents, 1),
		}
	}
	l, v := m.Played(), m.Levels
	r.Loudness = Loudness{finite(l.Integrated), round(l.Range, 1), finite(l.Momentary), finite(l.ShortTerm)}
	r.Levels = Levels{finite(v.Peak), v.ClippedRuns, round(v.Clipped, 6), round(v.Silent, 3), v.LeadIn, v.LeadOut}
	for _, b := range beats {
		r.Beats = append(r.Beats, Beat{round(b.Seconds, 3), b.InBar})
	}
	return r
}

func round(v float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(v*scale) / scale
}

// finite is nil for what JSON cannot write.
func finite(v float64) *float64 {
	if math.IsInf(v, 0) || math.IsNaN(v) {
		return nil
	}
	v = round(v, 2)
	return &v
}

// Merge joins beats of one chord; the last ends at end.
func Merge(beats []mir.Beat, end float64) []Chord {
	var out []Chord
	for _, b := range beats {
		if n := len(out); n > 0 {
			out[n-1].To = round(b.Seconds, 3)
			if out[n-1].Name == b.Chord.String() {
				continue
			}
		}
		out = append(out, Chord{From: round(b.Seconds, 3), Name: b.Chord.String()})
	}
	if n := len(out); n > 0 {
		out[n-1].To = round(end, 3)
	}
	return out
}

// Write prints a file's table.
func Write(w io.Writer, m Measured) {
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "  %-9s %s\n", name, fmt.Sprintf(format, args...))
	}
	fmt.Fprintln(w, m.File)
	row("length", "%.1f s", m.Seconds)
	row("content", "%s (%.2f)", m.Content.Kind, m.Content.Confidence)
	if m.Tempo.BPM > 0 {
		row("tempo", "%s", tempo(m.Tempo))
	}
	if m.Metre.Name != "" {
		row("metre", "%s (%.2f)", m.Metre.Name, m.Metre.Confidence)
	}
	if m.Key.Confidence > 0 {
		row("key", "%s (%.2f), next %s (%.2f)", m.Key, m.Key.Confidence, m.RunnerUp, m.RunnerUp.Confidence)
		row("tuning", "A4 = %.1f Hz (%+.0f cents)", 440*math.Exp2(m.TuningCents/1200), m.TuningCents)
	}
	l := m.Played()
	row("loudness", "%s integrated, range %.1f LU, highest momentary %s", lufs(l.Integrated), l.Range, lufs(l.Momentary))
	row("level", "%s", levels(m.Levels))
	row("onsets", "%.1f a second", m.OnsetsPerSecond)
	for _, w := range m.Faults.Warnings() {
		row("warning", "%s", w.Message)
	}
}

func tempo(t mir.Tempo) string {
	var b strings.Builder
	switch {
	case t.Steady:
		fmt.Fprintf(&b, "%.1f BPM (%.2f)", t.BPM, t.Confidence)
	case t.Pulse > 0 && t.High/max(t.Low, 1) > mir.SteadyWithin:
		fmt.Fprintf(&b, "no steady pulse: it moves between %.0f and %.0f BPM, mostly %.1f (%.2f)", t.Low, t.High, t.BPM, t.Confidence)
	default:
		fmt.Fprintf(&b, "no steady pulse; at best %.1f BPM (%.2f)", t.BPM, t.Confidence)
	}
	for i, a := range t.Alternatives {
		b.WriteString([]string{", or ", ", "}[min(i, 1)])
		fmt.Fprintf(&b, "%.1f (%.2f)", a.BPM, a.Confidence)
	}
	return b.String()
}

func lufs(v float64) string {
	if math.IsInf(v, -1) {
		return "silent"
	}
	return fmt.Sprintf("%.1f LUFS", v)
}

func levels(l mir.Levels) string {
	peak := "digital silence"
	if !math.IsInf(l.Peak, -1) {
		peak = fmt.Sprintf("peak %.1f dBFS", l.Peak)
	}
	clipped := "not clipped"
	if l.ClippedRuns > 0 {
		clipped = fmt.Sprintf("clipped %d times (%.3f %% of the samples)", l.ClippedRuns, 100*l.Clipped)
	}
	return fmt.Sprintf("%s, %s, silent %.0f %% of the time (%.1f s at the start, %.1f s at the end)", peak, clipped, 100*l.Silent, l.LeadIn, l.LeadOut)
}

// Package check compares what a model answers about a window of music with what signal processing (engine/mir) measures in it.
package check

import (
	"math"
	"strconv"
	"strings"

	"github.com/larkstream/larkstream/engine/mir"
	"github.com/larkstream/larkstream/engine/tags"
)

// Revision changes with what mir measures, so that what was measured before and kept is measured again.
const Revision = "1"

// Measured is what a window is measured to be, as far as answers name it. A zero value is a reading that there is none of; each confidence is how likely
// its reading is to be right, 0 to 1.
type Measured struct {
	// TempoBPM is in beats a minute.
	TempoBPM, TempoConfidence float64
	// Key as "Eb minor".
	Key           string
	KeyConfidence float64
	// Metre as "3/4".
	Metre           string
	MetreConfidence float64
	// Content is music, or what the window holds in place of music: noise, speech, tone or silence.
	Content           string
	ContentConfidence float64
}

// Window measures a window: 44.1 kHz mono PCM. It takes about 0.2 core-seconds and 20 MB for 25 s.
func Window(pcm []int16) Measured {
	r, _ := mir.Analyse(pcm)
	m := Measured{Content: string(r.Content.Kind), ContentConfidence: finite(r.Content.Confidence)}
	if r.Content.Kind != mir.Music {
		return m
	}
	if bpm := finite(r.Tempo.BPM); bpm > 0 {
		m.TempoBPM, m.TempoConfidence = bpm, finite(r.Tempo.Confidence)
	}
	if c := finite(r.Key.Confidence); c > 0 {
		m.Key, m.KeyConfidence = r.Key.String(), c
	}
	if r.Metre.Name != "" {
		m.Metre, m.MetreConfidence = r.Metre.Name, finite(r.Metre.Confidence)
	}
	return m
}

// finite is 0 for what no record may hold.
func finite(v float64) float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return 0
	}
	return v
}

// Result says whether an answer agrees with what was measured.
type Result struct {
	Agrees bool
	// Measured is the measurement in words: "121 BPM", "E minor", "no music but noise".
	Measured string
	// Confidence is how likely the measurement is to be right, 0 to 1; it says nothing of the answer.
	Confidence float64
}

// Text checks an answer in sentences. ok is false where there is nothing to compare: the answer names neither one tempo nor one key, or what it names
// was not measured. An answer that names both agrees if both do, and the confidence is the lower one. A tempo agrees within 4 %: half or double the
// measured tempo does not, although a listener may count so.
func Text(answer string, m Measured) (r Result, ok bool) {
	var parts []Result
	if bpm := tags.TempoIn(answer); bpm > 0 {
		if p, ok := m.tempo(bpm); ok {
			parts = append(parts, p)
		}
	}
	if tonic, mode := tags.KeyIn(answer); tonic != "" {
		if p, ok := m.key(tonic + " " + mode); ok {
			parts = append(parts, p)
		}
	}
	if len(parts) == 0 {
		return Result{}, false
	}
	r = Result{Agrees: true, Confidence: 1}
	var words []string
	for _, p := range parts {
		r.Agrees = r.Agrees && p.Agrees
		r.Confidence = min(r.Confidence, p.Confidence)
		if len(words) == 0 || words[len(words)-1] != p.Measured {
			words = append(words, p.Measured)
		}
	}
	r.Measured = strings.Join(words, ", ")
	return r, true
}

// Field names a field of tags as JSON does, and its check.
type Field struct {
	Name string
	Result
}

// Tags checks the fields of tags that are known and were measured, in the order of the form.
func Tags(t tags.Tags, m Measured) []Field {
	var out []Field
	add := func(name string, r Result, ok bool) {
		if ok {
			out = append(out, Field{name, r})
		}
	}
	if t.TempoBPM > 0 {
		r, ok := m.tempo(float64(t.TempoBPM))
		add("tempo_bpm", r, ok)
	}
	tonic, mode, _ := strings.Cut(m.keySpelled(), " ")
	if t.Key != "" {
		r, ok := m.same(t.Key, tonic, m.KeyConfidence)
		add("key", r, ok)
	}
	if t.Mode != "" {
		r, ok := m.same(t.Mode, mode, m.KeyConfidence)
		add("mode", r, ok)
	}
	if t.Metre != "" {
		r, ok := m.same(t.Metre, m.Metre, m.MetreConfidence)
		add("metre", r, ok)
	}
	return out
}

// within is how far a tempo may lie from the measured one, as in evaluations (Gouyon et al., 2006).
const within = 0.04

func (m Measured) tempo(bpm float64) (Result, bool) {
	if r, ok := m.noMusic(); ok {
		return r, true
	}
	if m.TempoBPM <= 0 {
		return Result{}, false
	}
	words := strconv.FormatFloat(m.TempoBPM, 'f', 0, 64) + " BPM"
	return Result{math.Abs(bpm/m.TempoBPM-1) < within, words, m.TempoConfidence}, true
}

func (m Measured) key(key string) (Result, bool) {
	r, ok := m.same(key, m.keySpelled(), m.KeyConfidence)
	if r.Measured == m.keySpelled() {
		r.Measured = m.Key
	}
	return r, ok
}

// keySpelled is the key in the spelling of tags: C# minor is Db minor there.
func (m Measured) keySpelled() string {
	tonic, mode := tags.KeyIn(m.Key)
	return strings.TrimSpace(tonic + " " + mode)
}

func (m Measured) same(said, measured string, confidence float64) (Result, bool) {
	if r, ok := m.noMusic(); ok {
		return r, true
	}
	if measured == "" {
		return Result{}, false
	}
	return Result{said == measured, measured, confidence}, true
}

// noMusic is the check of any tempo, key or metre where there is no music.
func (m Measured) noMusic() (Result, bool) {
	if m.Content == "" || m.Content == string(mir.Music) {
		return Result{}, false
	}
	return Result{false, "no music but " + m.Content, m.ContentConfidence}, true
}

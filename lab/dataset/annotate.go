package dataset

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"maps"
	"math"
	"os"

	"github.com/larkstream/larkstream/engine/audio"
	"github.com/larkstream/larkstream/engine/mir"
	"github.com/larkstream/larkstream/lab/dataset/facts"
)

// annotatedS is how much of a clip is annotated at most, as in LLark, in seconds.
const annotatedS = 360

// AnnotateConfig says what annotates.
type AnnotateConfig struct {
	RunOptions

	// Command is a program and its arguments that annotates as well; its fields replace ours of the same name. Empty = none. It reads JSON lines
	// {"clip", "audio", "start", "end"} and writes for each, in the same order, one JSON line of fields.
	Command []string
	// Confidence is how likely a reading of engine/mir must be to become a field, 0 to 1.
	Confidence float64
}

// annotation is a row of annotations.jsonl.
type annotation struct {
	outcome
	// Seconds that were annotated.
	Seconds float64 `json:"seconds,omitempty"`
	// Fields are LLark's: see fieldsOf. Times are in seconds from the start of the clip.
	Fields map[string]json.RawMessage `json:"fields,omitempty"`
}

type annotateSettings struct {
	Tool       string   `json:"tool"`
	Command    []string `json:"command,omitempty"`
	Confidence float64  `json:"confidence"`
}

// Annotate measures every clip that has audio.
func Annotate(ctx context.Context, s *Set, cfg AnnotateConfig) (tally Tally, err error) {
	files, err := audio.NewDecoder(ctx, audio.DefaultConfig())
	if err != nil {
		return tally, err
	}
	var tool *tool
	if len(cfg.Command) > 0 {
		if tool, err = startTool(ctx, cfg.Command); err != nil {
			return tally, err
		}
		defer func() { err = errors.Join(err, tool.close()) }()
	}
	run := step[Clip, annotation]{
		set: s, name: stepAnnotate, opts: cfg.RunOptions, settings: annotateSettings{"engine/mir 1", cfg.Command, cfg.Confidence},
		items: func(name string) iter.Seq2[Clip, error] { return s.Clips(name) }, id: func(c Clip) string { return c.ID },
		do: func(ctx context.Context, c Clip) (annotation, error) {
			return s.annotate(ctx, files, tool, c, cfg.Confidence)
		},
	}
	return run.run(ctx)
}

func (s *Set) annotate(ctx context.Context, files *audio.Decoder, tool *tool, c Clip, confidence float64) (annotation, error) {
	row := annotation{outcome: outcome{Clip: c.ID, State: stateDone}}
	if c.Missing != "" {
		row.State, row.Reason = stateMissing, c.Missing
		return row, nil
	}
	result, beats, err := measure(ctx, files, s.Path(c), c.Span)
	if ctx.Err() != nil {
		return row, context.Cause(ctx)
	}
	if err != nil {
		row.State, row.Reason = stateFailed, err.Error()
		return row, nil
	}
	row.Seconds, row.Fields = rounded(result.Seconds), fieldsOf(result, beats, confidence)
	if tool == nil {
		return row, nil
	}
	more, err := tool.annotate(ctx, toolRequest{Clip: c.ID, Audio: s.Path(c), Start: c.Span.Start, End: c.Span.End})
	if err != nil {
		return row, err
	}
	maps.Copy(row.Fields, more)
	return row, nil
}

// measure streams the span of a file through the analyser; times are from the start of the span.
func measure(ctx context.Context, files *audio.Decoder, path string, span Span) (mir.Result, []mir.Beat, error) {
	var beats []mir.Beat
	analyser := mir.New(func(b mir.Beat) { beats = append(beats, b) })
	if err := hear(ctx, files, path, span, annotatedS, analyser.Write); err != nil {
		return mir.Result{}, nil, err
	}
	return analyser.Finish(), beats, nil
}

// hear hands the PCM of a span of a file to sink, at most the first most seconds of it. A span may end behind the file.
func hear(ctx context.Context, files *audio.Decoder, path string, span Span, most float64, sink func([]int16)) error {
	rate := float64(files.Rate())
	skip, left := int64(math.Round(span.Start*rate)), int64(math.Round(most*rate))
	if span.End > 0 {
		left = min(left, int64(math.Round(span.End*rate))-skip)
	}
	info, err := files.Decode(ctx, func() (io.ReadCloser, error) { return os.Open(path) }, skip+left, func(pcm []int16) error {
		cut := min(skip, int64(len(pcm)))
		skip, pcm = skip-cut, pcm[cut:]
		pcm = pcm[:min(left, int64(len(pcm)))]
		left -= int64(len(pcm))
		sink(pcm)
		return nil
	})
	if err == nil && span.Start >= info.Seconds() {
		err = fmt.Errorf("the audio ends after %.2f s, before the clip starts (%g s)", info.Seconds(), span.Start)
	}
	return err
}

// fieldsOf writes what was measured in LLark's form. A reading that is less likely than confidence is left out; so is what does not apply.
func fieldsOf(r mir.Result, beats []mir.Beat, confidence float64) map[string]json.RawMessage {
	out := map[string]json.RawMessage{}
	if !math.IsInf(r.Loudness.Integrated, 0) && !math.IsNaN(r.Loudness.Integrated) {
		out[facts.Loudness] = mustJSON(math.Round(r.Loudness.Integrated*10) / 10)
	}
	if r.Content.Kind != mir.Music {
		return out
	}
	steady := r.Tempo.Steady && r.Tempo.BPM > 0 && r.Tempo.Confidence >= confidence
	if steady {
		out[facts.Tempo+facts.Ours] = mustJSON(math.Round(r.Tempo.BPM*10) / 10)
	}
	if steady && r.Metre.Confidence >= confidence && r.Metre.Beats > 0 {
		out[facts.Metre] = mustJSON(r.Metre.Name)
		out[facts.Beats+facts.Ours] = mustJSON(beatsOf(beats))
	}
	if r.Key.Confidence > 0 && r.Key.Confidence >= confidence {
		out[facts.Key] = mustJSON(r.Key.String())
	}
	if chords := chordsOf(beats, r.Seconds); steady && len(chords) > 0 {
		out[facts.Chords] = mustJSON(chords)
	}
	return out
}

func beatsOf(beats []mir.Beat) []facts.Beat {
	out := make([]facts.Beat, len(beats))
	for i, b := range beats {
		out[i] = facts.Beat{Time: rounded(b.Seconds), Number: b.InBar}
	}
	return out
}

// chordsOf joins beats with the same chord; each chord lasts until the next, the last one until the end.
func chordsOf(beats []mir.Beat, seconds float64) []facts.Chord {
	var out []facts.Chord
	for _, b := range beats {
		at, name := rounded(b.Seconds), chordName(b.Chord)
		if n := len(out); n > 0 {
			out[n-1].End = at
			if out[n-1].Chord == name {
				continue
			}
		}
		out = append(out, facts.Chord{Start: at, Chord: name})
	}
	if n := len(out); n > 0 {
		out[n-1].End = rounded(seconds)
	}
	return out
}

// chordName is a chord as madmom writes it: C:maj, F#:min, N.
func chordName(c mir.Chord) string {
	switch {
	case c.Root < 0:
		return "N"
	case c.Minor:
		return mir.Chord{Root: c.Root}.String() + ":min"
	}
	return c.String() + ":maj"
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"slices"

	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
)

// PrecisionsConfig says what to compare.
type PrecisionsConfig struct {
	ModelDir string
	// Seconds of audio; costs grow with them.
	Seconds float64
	// Depths are the numbers of layers behind which frames are compared.
	Depths []int
}

// PrecisionError is how far the frames of a precision are from the frames of float32: for each frame, the length of the difference as a share
// of the length of the float32 one.
type PrecisionError struct {
	Precision string  `json:"precision"`
	Layers    int     `json:"layers"`
	Median    float64 `json:"median"`
	Worst     float64 `json:"worst"`
}

// PrecisionsReport is the result.
type PrecisionsReport struct {
	Model   string           `json:"model"`
	Machine string           `json:"machine"`
	Seconds float64          `json:"seconds"`
	Frames  int              `json:"frames"`
	Errors  []PrecisionError `json:"errors"`
}

// RunPrecisions encodes one clip of music-like sound in every precision.
func RunPrecisions(ctx context.Context, cfg PrecisionsConfig) (PrecisionsReport, error) {
	bundle, err := model.Load(cfg.ModelDir)
	if err != nil {
		return PrecisionsReport{}, err
	}
	if layers, ok := bundle.Encoder.Config["layers"].(int); ok {
		cfg.Depths = slices.DeleteFunc(slices.Clone(cfg.Depths), func(d int) bool { return d > layers })
	}
	r := PrecisionsReport{Model: bundle.DisplayName(), Machine: machine(), Seconds: cfg.Seconds}
	var want map[int][]float32
	for _, p := range tensor.Precisions() {
		got, err := framesByDepth(ctx, bundle, p, cfg)
		if err != nil {
			return r, fmt.Errorf("encoding in %s: %w", p, err)
		}
		if p == tensor.F32 {
			want = got
			continue
		}
		for _, depth := range cfg.Depths {
			e := frameErrors(want[depth], got[depth], bundle.Encoder.Width)
			r.Frames = len(e)
			r.Errors = append(r.Errors, PrecisionError{string(p), depth, e[len(e)/2], e[len(e)-1]})
		}
	}
	return r, nil
}

// framesByDepth encodes the clip once and keeps the frames behind each of the depths.
func framesByDepth(ctx context.Context, bundle *model.Bundle, p tensor.Precision, cfg PrecisionsConfig) (frames map[int][]float32, err error) {
	frames = map[int][]float32{}
	engine, err := encoder.OpenJukebox(bundle, encoder.JukeboxOptions{Precision: p, After: func(layers int, x []float32) {
		if slices.Contains(cfg.Depths, layers) {
			frames[layers] = x
		}
	}})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, engine.Close()) }()
	_, err = engine.Encode(ctx, chirp(int(cfg.Seconds*sampleRate)))
	return frames, err
}

// frameErrors are the errors of all frames, the smallest first.
func frameErrors(want, got []float32, width int) []float64 {
	var list []float64
	for f := 0; f < len(want); f += width {
		difference, length := 0.0, 0.0
		for i, v := range want[f:][:width] {
			difference += (float64(got[f+i]) - float64(v)) * (float64(got[f+i]) - float64(v))
			length += float64(v) * float64(v)
		}
		list = append(list, math.Sqrt(difference/length))
	}
	slices.Sort(list)
	return list
}

// Write prints the report as Markdown.
func (r PrecisionsReport) Write(w io.Writer) {
	fmt.Fprintf(w, "Model %s. %s.\nCommand: `lark bench precisions --seconds %g`; %d frames.\n\n", r.Model, r.Machine, r.Seconds, r.Frames)
	fmt.Fprintf(w, "| precision | layers | median | worst |\n| --- | --- | --- | --- |\n")
	for _, e := range r.Errors {
		fmt.Fprintf(w, "| %s | %d | %.2g | %.2g |\n", e.Precision, e.Layers, e.Median, e.Worst)
	}
}

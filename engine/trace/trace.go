// Package trace computes every step from samples to tokens for people who compare a model with another implementation of it.
package trace

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/larkstream/larkstream/engine/decoder"
	"github.com/larkstream/larkstream/engine/encoder"
	"github.com/larkstream/larkstream/engine/encoder/whisper"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/projector"
	"github.com/larkstream/larkstream/engine/tensor"
)

// Config says what to trace.
type Config struct {
	// Precision is the arithmetic; empty: what the bundle serves with. In f32 everything is computed in float32, the decoder in plain Go, whatever the
	// types of the weights.
	Precision tensor.Precision
	Device    encoder.Device
	Question  string
	// Tokens is how many tokens are decoded.
	Tokens int
	// NativeDir is the folder of llama.cpp's libraries.
	NativeDir string
	Log       *slog.Logger
}

// Steps are the results. Windows of one prompt lie one behind the other.
type Steps struct {
	// Mel is the spectrogram; each window but the last has 3000 rows, the last two more than the audio has.
	Mel tensor.Matrix
	// Pooled are the frames that are stored, Projected the rows that stand in the prompt.
	Pooled, Projected tensor.Matrix
	decoder.Trace
	// HeardS is how much of the audio was heard, in seconds.
	HeardS float64
}

// Run traces samples at the encoder's rate, as the family hears them: all windows in one prompt, or one clip where the encoder hears blocks. What is
// longer than a prompt's audio is cut off.
func Run(ctx context.Context, b *model.Bundle, cfg Config, samples []float32) (s Steps, err error) {
	if b.Encoder.Engine != model.Whisper {
		return s, fmt.Errorf("tracing: the encoder of engine %q is not traced: lark model encode runs Jukebox's", b.Encoder.Engine)
	}
	if err := b.Require(model.PartProjector, model.PartLLM); err != nil {
		return s, err
	}
	samples = samples[:min(len(samples), int(cmp.Or(b.Prompt.AudioS, b.Encoder.SpanS)*float64(b.Encoder.Rate())))]
	s.HeardS = float64(len(samples)) / float64(b.Encoder.Rate())
	if err := s.hear(ctx, b, cfg, samples); err != nil {
		return s, err
	}
	s.Trace, err = decoder.RunTrace(b, decoder.TraceConfig{
		Soft: s.Projected, Question: cfg.Question, Tokens: cfg.Tokens, Exact: cfg.Precision == tensor.F32, NativeDir: cfg.NativeDir, Log: cfg.Log,
	})
	return s, err
}

// hear computes what comes before the decoder.
func (s *Steps) hear(ctx context.Context, b *model.Bundle, cfg Config, samples []float32) (err error) {
	e, err := encoder.OpenWhisperOn(ctx, b, encoder.WhisperOptions{Precision: cfg.Precision}, cfg.Device)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	p, err := projector.Open(b)
	if err != nil {
		return err
	}
	whole := whisper.Padded(e.Config())
	for w := 0; w == 0 || w*whole < len(samples); w++ {
		window := samples[w*whole : min((w+1)*whole, len(samples))]
		join(&s.Mel, whisper.Mel(window, whole))
		if w > 0 && len(window) < 2*audiobundle.Hop+1 {
			break // too short for a frame
		}
		frames, err := e.EncodeSamples(ctx, window)
		if err != nil {
			return err
		}
		rows, err := p.ProjectAt(frames, w)
		if err != nil {
			return err
		}
		join(&s.Pooled, frames)
		join(&s.Projected, rows)
	}
	return nil
}

// join appends rows.
func join(to *tensor.Matrix, m tensor.Matrix) {
	to.Rows, to.Cols, to.Data = to.Rows+m.Rows, m.Cols, append(to.Data, m.Data...)
}

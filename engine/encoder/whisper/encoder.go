// Package whisper is the encoder that Qwen2.5-Omni, Qwen2-Audio, Audio Flamingo 3 and Music Flamingo hear with: that of Whisper-large-v3
// with pooled frames (arXiv:2212.04356, arXiv:2503.20215, arXiv:2507.08128). The formulas are those of transformers 5.24.0, which the tests
// compare every step with.
package whisper

import (
	"context"
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/tensor"
)

// Errors of clips of a length that the encoder does not take.
var (
	ErrTooShort = errors.New("clip is too short: 320 samples at 16 kHz or fewer make no frame")
	ErrTooLong  = errors.New("clip is too long")
	// errNotFinite reports overflow, which weights of sane size do not cause.
	errNotFinite = errors.New("activations are not finite")
)

// Seconds of audio that an encoder hears at once: a window is padded to 30 s, and a clip that is heard in blocks to 300 s.
const clipS = 300

// Options are the choices of whoever opens an encoder; the zero value is float32 and one window at a time.
type Options struct {
	// Precision is the arithmetic of products. Norms, sums and the residual are in float32.
	Precision tensor.Precision
	// Windows is how many windows are encoded at once, each in memory of its own; 0 is 1.
	Windows int
	// Progress is called with the layers that are loaded. It may be nil.
	Progress func(done, total int)
	// Rows is called with the rows [n, width] behind the last layer, before pooling, of each chunk, with one window in flight. It may be nil.
	Rows func(rows []float32)
}

// Encoder may be used by several goroutines; they wait for one another when more windows come than Options.Windows.
type Encoder struct {
	config    audiobundle.Config
	precision tensor.Precision
	weights   *weights
	rows      func([]float32)
	free      chan *work
}

// New loads the weights.
func New(c audiobundle.Config, from *Weights, o Options) (*Encoder, error) {
	if err := errors.Join(c.Validate(), from.Check(c)); err != nil {
		return nil, err
	}
	e := &Encoder{config: c, precision: o.Precision, rows: o.Rows, free: make(chan *work, max(o.Windows, 1))}
	if o.Progress == nil {
		o.Progress = func(int, int) {}
	}
	if e.rows == nil {
		e.rows = func([]float32) {}
	}
	e.weights = from.load(c, o.Precision, o.Progress)
	if from.Err() != nil {
		return nil, from.Err()
	}
	for range cap(e.free) {
		e.free <- newWork()
	}
	return e, nil
}

// Config is the encoder's shape.
func (e *Encoder) Config() audiobundle.Config { return e.config }

// Padded is how many samples a window or clip is padded to.
func Padded(c audiobundle.Config) int {
	if c.Block > 0 {
		return clipS * audiobundle.SampleRate
	}
	return audiobundle.WindowS * audiobundle.SampleRate
}

// CheckLength refuses clips that are too short or too long for one window.
func CheckLength(c audiobundle.Config, samples int) error {
	switch {
	case Tokens(samples) == 0:
		return fmt.Errorf("encoding a clip of %d samples: %w", samples, ErrTooShort)
	case samples > Padded(c):
		return fmt.Errorf("encoding a clip of %d samples: %w: at most %d are heard at once", samples, ErrTooLong, Padded(c))
	}
	return nil
}

// Float turns 16-bit samples into values in [-1, 1).
func Float(pcm []int16) []float32 {
	out := make([]float32, len(pcm))
	for i, v := range pcm {
		out[i] = float32(v) / (1 << 15)
	}
	return out
}

// Encode turns 16 kHz mono PCM of one window, or of one clip of up to 300 s where the encoder hears blocks, into pooled frames
// [Tokens(samples), width]. It ends soon after ctx does.
func (e *Encoder) Encode(ctx context.Context, samples []float32) (tensor.Matrix, error) {
	if err := CheckLength(e.config, len(samples)); err != nil {
		return tensor.Matrix{}, err
	}
	select {
	case <-ctx.Done():
		return tensor.Matrix{}, ctx.Err()
	case w := <-e.free:
		defer func() { e.free <- w }()
		frames, err := e.encode(ctx, w, samples)
		if err == nil && !tensor.Finite(frames) {
			err = errNotFinite
		}
		if err != nil {
			return tensor.Matrix{}, fmt.Errorf("encoding a clip: %w", err)
		}
		return tensor.Matrix{Rows: len(frames) / e.config.Width, Cols: e.config.Width, Data: frames}, nil
	}
}

func (e *Encoder) encode(ctx context.Context, w *work, samples []float32) ([]float32, error) {
	mel := Mel(samples, Padded(e.config))
	var frames []float32
	for _, c := range Chunks(e.config, len(samples), mel.Rows) {
		x := e.stem(w, c, mel)
		for i := range e.weights.layers {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			e.layer(w, &e.weights.layers[i], x, c.Spans)
		}
		e.rows(x)
		frames = append(frames, e.pool(x, c)...)
	}
	return frames, nil
}

// Idle reports whether nothing is being encoded, and if so ends the encoder: every later call waits for its context to end.
func (e *Encoder) Idle() bool {
	for taken := range cap(e.free) {
		select {
		case <-e.free:
		default:
			for range taken {
				e.free <- newWork()
			}
			return false
		}
	}
	return true
}

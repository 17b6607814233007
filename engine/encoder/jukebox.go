package encoder

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/engine/encoder/jukebox"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
)

// JukeboxPart is a part of the work.
type JukeboxPart = jukebox.Part

// JukeboxEncoder is the encoder of LLark, opened from a bundle. It may be used by several goroutines.
type JukeboxEncoder struct {
	encoder *jukebox.Encoder
	weights *model.Mapped
	// frames encodes on the processor or on the device; stop ends the device.
	frames func(ctx context.Context, pcm []int16) (frames []float32, n int, err error)
	stop   func()
}

// JukeboxOptions are the choices of whoever opens an encoder; the zero value is the bundle's precision and one window at a
// time, not measured.
type JukeboxOptions = jukebox.Options

// OpenJukebox opens the encoder of a bundle whose files have been verified. The caller closes it when nothing runs any more.
func OpenJukebox(b *model.Bundle, o JukeboxOptions) (*JukeboxEncoder, error) {
	if b.Encoder.Engine != Jukebox {
		return nil, fmt.Errorf("opening encoder: the bundle's is of engine %q, not %s", b.Encoder.Engine, Jukebox)
	}
	precision, err := tensor.ParsePrecision(cmp.Or(string(o.Precision), b.Encoder.Precision))
	if err != nil {
		return nil, fmt.Errorf("opening encoder: %w", err)
	}
	o.Precision = precision
	c, err := jukebox.ConfigOf(b.Encoder.Config)
	if err != nil {
		return nil, fmt.Errorf("opening encoder: %w", err)
	}
	if c.Width != b.Encoder.Width {
		return nil, fmt.Errorf("opening encoder: the bundle says width %d, its encoder has %d", b.Encoder.Width, c.Width)
	}
	weights, err := model.OpenMapped(b.EncoderPath())
	if err != nil {
		return nil, err
	}
	e, err := jukebox.New(c, weights, o)
	if err != nil {
		return nil, errors.Join(err, weights.Close())
	}
	return &JukeboxEncoder{e, weights, e.Encode, func() {}}, nil
}

// Encode implements Engine. Loudness is normalised by the peak of all of pcm. The first 23.777 s of pcm are heard.
func (j *JukeboxEncoder) Encode(ctx context.Context, pcm []int16) (tensor.Matrix, error) {
	frames, n, err := j.frames(ctx, pcm)
	if errors.Is(err, jukebox.ErrTooShort) {
		return tensor.Matrix{}, fmt.Errorf("%w: %w", ErrTooShort, err)
	}
	if err != nil {
		return tensor.Matrix{}, err
	}
	return tensor.Matrix{Rows: n, Cols: j.encoder.Config().Width, Data: frames}, nil
}

// Codes gives the VQ-VAE's codes of the whole window, one for 128 samples, including the codes of the padding behind a short clip.
func (j *JukeboxEncoder) Codes(ctx context.Context, pcm []int16) ([]int32, error) {
	return j.encoder.Codes(ctx, pcm)
}

// WindowSamples is how many samples are heard.
func (j *JukeboxEncoder) WindowSamples() int { return j.encoder.Config().WindowSamples() }

// Flops are the floating-point operations that a clip of that many samples takes, by part; only products count.
func (j *JukeboxEncoder) Flops(samples int) map[JukeboxPart]float64 { return j.encoder.Flops(samples) }

// Close frees the weights. While something is being encoded it only returns an error: the weights are in use. On a device,
// windows in hand end first.
func (j *JukeboxEncoder) Close() error {
	j.stop()
	if !j.encoder.Idle() {
		return errors.New("closing encoder: a window is still being encoded")
	}
	return j.weights.Close()
}

package encoder

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"github.com/larkstream/larkstream/engine/encoder/ggmlwhisper"
	"github.com/larkstream/larkstream/engine/encoder/whisper"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/tensor"
)

// WhisperOptions are the choices of whoever opens an encoder of Whisper's kind; the zero value is the bundle's precision and one window at a time.
type WhisperOptions = whisper.Options

// WhisperEncoder is an encoder of Whisper's kind, opened from a bundle. It may be used by several goroutines.
type WhisperEncoder struct {
	config audiobundle.Config
	// frames encodes on the processor or on the device; stop ends it.
	frames func(ctx context.Context, samples []float32) (tensor.Matrix, error)
	stop   func() error
}

// OpenWhisper opens the encoder of a bundle whose files have been verified, on our kernels. The caller closes it.
func OpenWhisper(ctx context.Context, b *model.Bundle, o WhisperOptions) (_ *WhisperEncoder, err error) {
	file, c, err := whisperFile(b)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if o.Precision, err = tensor.ParsePrecision(cmp.Or(string(o.Precision), b.Encoder.Precision)); err != nil {
		return nil, fmt.Errorf("opening encoder: %w", err)
	}
	e, err := whisper.New(c, whisper.Read(ctx, file), o)
	if err != nil {
		return nil, err
	}
	return &WhisperEncoder{c, e.Encode, func() error {
		if !e.Idle() {
			return errors.New("closing encoder: a window is still being encoded")
		}
		return nil
	}}, nil
}

// OpenWhisperOn is OpenWhisper on a device. Its weights are uploaded before it returns, which ends with ctx.
func OpenWhisperOn(ctx context.Context, b *model.Bundle, o WhisperOptions, d Device) (_ *WhisperEncoder, err error) {
	if !validDevice(d.Name) {
		return nil, fmt.Errorf("opening device: %q is not %s", d.Name, deviceNames)
	}
	if d.processor() {
		o.Progress = d.Progress
		return OpenWhisper(ctx, b, o)
	}
	l, device, err := d.find()
	if err != nil {
		return nil, err
	}
	free, total := device.Memory()
	d.Log.Info("encoder runs on a device", "device", device.Name, "description", device.Description, "free_bytes", free, "total_bytes", total)
	file, c, err := whisperFile(b)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if o.Precision, err = tensor.ParsePrecision(cmp.Or(string(o.Precision), b.Encoder.Precision)); err != nil {
		return nil, fmt.Errorf("opening encoder: %w", err)
	}
	e, err := ggmlwhisper.New(ctx, c, file, l, device, ggmlwhisper.Options{Precision: o.Precision, Windows: o.Windows, Progress: d.Progress})
	if err != nil {
		return nil, err
	}
	if e.Windows() < o.Windows {
		d.Log.Warn("the device has room for fewer windows at once", "windows", e.Windows(), "concurrency", o.Windows)
	}
	return &WhisperEncoder{c, e.Encode, func() error { e.Close(); return nil }}, nil
}

// whisperFile opens the weights and compares them with the manifest.
func whisperFile(b *model.Bundle) (*gguf.File, audiobundle.Config, error) {
	if b.Encoder.Engine != Whisper {
		return nil, audiobundle.Config{}, fmt.Errorf("opening encoder: the bundle's is of engine %q, not %s", b.Encoder.Engine, Whisper)
	}
	c, err := audiobundle.Parse(b.Encoder.Config)
	if err != nil {
		return nil, c, fmt.Errorf("opening encoder: %w", err)
	}
	if c.Width != b.Encoder.Width || b.Encoder.Rate() != audiobundle.SampleRate {
		return nil, c, fmt.Errorf("opening encoder: the bundle says width %d at %d Hz, its encoder has %d at %d", b.Encoder.Width, b.Encoder.Rate(), c.Width, audiobundle.SampleRate)
	}
	file, err := gguf.Open(b.EncoderPath())
	return file, c, err
}

// Encode implements Engine.
func (w *WhisperEncoder) Encode(ctx context.Context, pcm []int16) (tensor.Matrix, error) {
	return w.EncodeSamples(ctx, whisper.Float(pcm))
}

// EncodeSamples is Encode for samples in [-1, 1) that are not rounded to 16 bits.
func (w *WhisperEncoder) EncodeSamples(ctx context.Context, samples []float32) (tensor.Matrix, error) {
	frames, err := w.frames(ctx, samples)
	switch {
	case errors.Is(err, whisper.ErrTooShort):
		return tensor.Matrix{}, fmt.Errorf("%w: %w", ErrTooShort, err)
	case errors.Is(err, whisper.ErrTooLong):
		return tensor.Matrix{}, fmt.Errorf("%w: %w", ErrTooLong, err)
	}
	return frames, err
}

// Config is the encoder's shape.
func (w *WhisperEncoder) Config() audiobundle.Config { return w.config }

// Close frees the encoder. On our kernels, while something is being encoded it only returns an error; on a device, windows in hand end first.
func (w *WhisperEncoder) Close() error { return w.stop() }

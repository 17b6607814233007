package encodersvc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/larkstream/larkstream/engine/encoder/features"
	"github.com/larkstream/larkstream/engine/encoder/nano"
	"github.com/larkstream/larkstream/engine/encoder/testencoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
	"github.com/larkstream/larkstream/services/encoder-svc/internal/handle"
)

// Engine turns a window of 44.1 kHz mono PCM into frames [n, width]. Its contract is in internal/handle.
type Engine = handle.Engine

// Errors of Engine.Encode for windows of a length that the model does not take.
var (
	ErrTooShort = handle.ErrTooShort
	ErrTooLong  = handle.ErrTooLong
)

// OpenEngine loads the bundle that the configuration names and opens its encoder, unless ctx ends before. The caller closes it.
func OpenEngine(ctx context.Context, c Config) (Engine, error) {
	bundle, err := model.Load(c.ModelDir)
	if err != nil {
		return nil, err
	}
	if err := bundle.SetPrecision(c.EncoderPrecision); err != nil {
		return nil, err
	}
	return c.open(ctx, bundle, Device{Log: slog.New(slog.DiscardHandler)})
}

// engineName is the engine in use: the configuration's, else the bundle's.
func (c *Config) engineName(b *model.Bundle) string { return cmp.Or(c.Engine, b.Encoder.Engine) }

// open opens the engine; d has what a device needs besides the configuration.
func (c *Config) open(ctx context.Context, b *model.Bundle, d Device) (Engine, error) {
	if name := c.engineName(b); name != EngineJukebox && !slices.Contains([]string{"", DeviceCPU, DeviceAuto}, c.Device) {
		return nil, fmt.Errorf("opening encoder: engine %s runs on the processor, not on device %s", name, c.Device)
	}
	switch name := c.engineName(b); name {
	case EngineNano:
		e, err := nano.Load(b.Dir)
		if err != nil {
			return nil, err
		}
		if b.Encoder.Width != nano.Width {
			return nil, fmt.Errorf("opening encoder: the bundle says width %d, the engine has %d", b.Encoder.Width, nano.Width)
		}
		return nanoEngine{e}, nil
	case EngineJukebox:
		d.Name, d.NativeDir = c.Device, c.NativeDir
		return c.openJukebox(ctx, b, d)
	case EngineTest:
		return testencoder.New(b.Encoder.Width, b.Encoder.FrameRateHz, c.TestDelay), nil
	default:
		return nil, fmt.Errorf("opening encoder: engine %q is not nano, jukebox or test", name)
	}
}

// openJukebox opens LLark's encoder on the device, with auto on the processor when no other can be used.
func (c *Config) openJukebox(ctx context.Context, b *model.Bundle, d Device) (*Jukebox, error) {
	j, err := OpenJukeboxOn(ctx, b, JukeboxOptions{Windows: c.windows(b)}, d)
	if err == nil || c.Device != DeviceAuto || ctx.Err() != nil {
		return j, err
	}
	d.Log.Warn("no GPU can be used, the encoder runs on the processor", "reason", err)
	return OpenJukebox(b, JukeboxOptions{Windows: max(c.Concurrency, 1)})
}

// nanoEngine gives lark-nano's encoder the shape of an Engine.
type nanoEngine struct{ encoder *nano.Encoder }

func (e nanoEngine) Encode(ctx context.Context, pcm []int16) (tensor.Matrix, error) {
	frames, n, width, err := e.encoder.Encode(ctx, pcm)
	switch {
	case errors.Is(err, features.ErrTooShort):
		return tensor.Matrix{}, fmt.Errorf("%w: %w", ErrTooShort, err)
	case errors.Is(err, features.ErrTooLong):
		return tensor.Matrix{}, fmt.Errorf("%w: %w", ErrTooLong, err)
	case err != nil:
		return tensor.Matrix{}, err
	}
	return tensor.Matrix{Rows: n, Cols: width, Data: frames}, nil
}

func (nanoEngine) Close() error { return nil }

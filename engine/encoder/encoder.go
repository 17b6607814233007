// Package encoder turns windows of audio into embeddings: it opens the encoder of a model bundle on the engine that the bundle or the
// caller names.
package encoder

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/larkstream/larkstream/engine/encoder/features"
	"github.com/larkstream/larkstream/engine/encoder/nano"
	"github.com/larkstream/larkstream/engine/encoder/testencoder"
	"github.com/larkstream/larkstream/engine/model"
	"github.com/larkstream/larkstream/engine/tensor"
)

// Names of engines.
const (
	// Nano is lark-nano's encoder in plain Go.
	Nano = "nano"
	// Jukebox is LLark's encoder, Jukebox-5B, in the precision that the bundle names.
	Jukebox = "jukebox"
	// Whisper is the encoder of Qwen2.5-Omni, Qwen2-Audio, Audio Flamingo 3 and Music Flamingo, in the precision that the bundle names.
	Whisper = model.Whisper
	// Test makes frames without a model, for tests of everything around it. Its embeddings are stored under the keys of the bundle's
	// real encoder: give it a blob store and a Redis of its own.
	Test = "test"
)

// Names lists the engines.
func Names() []string { return []string{Nano, Jukebox, Whisper, Test} }

// Engine turns a window of mono PCM, at the sample rate of the bundle's encoder, into frames [n, width]. It is safe for concurrent use.
type Engine interface {
	// Encode ends soon after ctx does. It returns ErrTooShort or ErrTooLong for windows of a length that the model does not take.
	Encode(ctx context.Context, pcm []int16) (tensor.Matrix, error)
	Close() error
}

// Errors of Engine.Encode for windows of a length that the model does not take.
var (
	ErrTooShort = errors.New("window is too short for the model")
	ErrTooLong  = errors.New("window is too long for the model")
)

// Options are the choices of whoever opens an encoder. The zero value takes the bundle's engine on the processor.
type Options struct {
	// Engine is one of Names; empty takes the bundle's.
	Engine string
	// Concurrency is how many windows are encoded at once; 0 takes Windows's default.
	Concurrency int
	// Device runs Jukebox's prior or an encoder of Whisper's kind; the other engines run on the processor.
	Device Device
	// TestDelay is the time that the test engine takes for one window.
	TestDelay time.Duration
}

// EngineName is the engine in use: the option's, else the bundle's.
func (o Options) EngineName(b *model.Bundle) string { return cmp.Or(o.Engine, b.Encoder.Engine) }

// Windows is how many windows are encoded at once. By default that is the number of processors; 1 for Jukebox and Whisper, because one window
// keeps all processors busy; 4 for them on a GPU, where windows that wait run together.
func (o Options) Windows(b *model.Bundle) int {
	switch {
	case o.Concurrency > 0:
		return o.Concurrency
	case o.large(b) && o.Device.onProcessor():
		return 1
	case o.large(b):
		return deviceWindows
	}
	return runtime.NumCPU()
}

// large tells whether one window keeps all processors busy.
func (o Options) large(b *model.Bundle) bool {
	return o.EngineName(b) == Jukebox || o.EngineName(b) == Whisper
}

// Validate reports every fault of the options, joined.
func (o Options) Validate() error {
	var faults []error
	if o.Engine != "" && !slices.Contains(Names(), o.Engine) {
		faults = append(faults, fmt.Errorf("engine: %q is not %s", o.Engine, nameList()))
	}
	if o.Concurrency < 0 {
		faults = append(faults, fmt.Errorf("concurrency: %d is below 0", o.Concurrency))
	}
	if !validDevice(o.Device.Name) {
		faults = append(faults, fmt.Errorf("device: %q is not %s", o.Device.Name, deviceNames))
	}
	if o.TestDelay < 0 {
		faults = append(faults, fmt.Errorf("test_delay: %s is below 0", o.TestDelay))
	}
	return errors.Join(faults...)
}

func nameList() string {
	names := Names()
	return strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1]
}

// Open opens the encoder of a bundle whose files have been verified, unless ctx ends before. The caller closes it.
func Open(ctx context.Context, b *model.Bundle, o Options) (Engine, error) {
	name := o.EngineName(b)
	if !o.large(b) && !slices.Contains([]string{"", DeviceCPU, DeviceAuto}, o.Device.Name) {
		return nil, fmt.Errorf("opening encoder: engine %s runs on the processor, not on device %s", name, o.Device.Name)
	}
	if o.Device.Log == nil {
		o.Device.Log = slog.New(slog.DiscardHandler)
	}
	switch name {
	case Nano:
		return openNano(b)
	case Jukebox:
		return openJukebox(ctx, b, o)
	case Whisper:
		return openWhisper(ctx, b, o)
	case Test:
		return testencoder.New(b.Encoder.Width, b.Encoder.FrameRateHz, b.Encoder.Rate(), o.TestDelay), nil
	default:
		return nil, fmt.Errorf("opening encoder: engine %q is not %s", name, nameList())
	}
}

// openJukebox opens LLark's encoder on the device; device auto takes the processor when no GPU can be used.
func openJukebox(ctx context.Context, b *model.Bundle, o Options) (Engine, error) {
	j, err := OpenJukeboxOn(ctx, b, JukeboxOptions{Windows: o.Windows(b)}, o.Device)
	if err == nil {
		return j, nil
	}
	if o.Device.Name != DeviceAuto || ctx.Err() != nil {
		return nil, err
	}
	o.Device.Log.Warn("no GPU can be used, the encoder runs on the processor", "reason", err)
	j, err = OpenJukebox(b, JukeboxOptions{Windows: max(o.Concurrency, 1)})
	if err != nil {
		return nil, err
	}
	return j, nil
}

// openWhisper opens an encoder of Whisper's kind on the device; device auto takes the processor when no GPU can be used.
func openWhisper(ctx context.Context, b *model.Bundle, o Options) (Engine, error) {
	e, err := OpenWhisperOn(ctx, b, WhisperOptions{Windows: o.Windows(b)}, o.Device)
	if err != nil && o.Device.Name == DeviceAuto && ctx.Err() == nil {
		o.Device.Log.Warn("no GPU can be used, the encoder runs on the processor", "reason", err)
		e, err = OpenWhisper(ctx, b, WhisperOptions{Windows: max(o.Concurrency, 1), Progress: o.Device.Progress})
	}
	if err != nil {
		return nil, err
	}
	return e, nil
}

func openNano(b *model.Bundle) (Engine, error) {
	e, err := nano.Load(b.Dir)
	if err != nil {
		return nil, err
	}
	if b.Encoder.Width != nano.Width {
		return nil, fmt.Errorf("opening encoder: the bundle says width %d, the engine has %d", b.Encoder.Width, nano.Width)
	}
	return nanoEngine{e}, nil
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

// Package ggmlwhisper runs an encoder of Whisper's kind as graphs of ggml, on a GPU or whatever device ggml has. The spectrogram and the division
// into chunks are those of package whisper, and so are the results: as exact as the precision asked for.
package ggmlwhisper

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/larkstream/larkstream/engine/encoder/batch"
	"github.com/larkstream/larkstream/engine/encoder/ggmlgraph"
	"github.com/larkstream/larkstream/engine/encoder/whisper"
	"github.com/larkstream/larkstream/engine/model/audiobundle"
	"github.com/larkstream/larkstream/engine/model/gguf"
	"github.com/larkstream/larkstream/engine/native/ggml"
	"github.com/larkstream/larkstream/engine/tensor"
)

// errNotFinite reports overflow, which weights of sane size do not cause.
var errNotFinite = errors.New("activations are not finite")

// Options are the choices of whoever opens an encoder.
type Options struct {
	// Precision is the arithmetic: F32, or BF16 for whatever the device does with the weights as the file holds them.
	Precision tensor.Precision
	// Windows is how many windows the device runs at once at most; 0 is 1. Memory for as many is taken at the start, or for half of them, and so
	// on, if the device has not as much.
	Windows int
	// Threads of ggml's processor; 0 is as many as Go uses.
	Threads int
	// Progress is called with the tensors that are on the device. It may be nil.
	Progress func(done, total int)
}

// Encoder may be used by several goroutines. Windows that wait while the device is busy run together.
type Encoder struct {
	config     audiobundle.Config
	library    *ggml.Library
	device     ggml.Device
	windows    int
	arithmetic ggmlgraph.Arithmetic

	backend *ggml.Backend
	weights *weights
	state   *state
	plan    *ggml.Plan // memory of intermediate values
	queue   *batch.Queue[input, []float32]
}

// input is a chunk of a window, and the spectrogram of the window.
type input struct {
	chunk whisper.Chunk
	mel   tensor.Matrix
}

// New uploads the weights and takes the memory for o.Windows windows. Before that it asks the device for every operation, and returns an error that
// names the first that it lacks.
func New(ctx context.Context, c audiobundle.Config, file *gguf.File, l *ggml.Library, d ggml.Device, o Options) (*Encoder, error) {
	if err := errors.Join(c.Validate(), whisper.Read(ctx, file).Check(c)); err != nil {
		return nil, err
	}
	if o.Progress == nil {
		o.Progress = func(int, int) {}
	}
	exact := o.Precision != tensor.BF16
	e := &Encoder{config: c, library: l, device: d, windows: max(o.Windows, 1), arithmetic: ggmlgraph.Arithmetic{Split: exact && d.Kind != ggml.CPU}}
	for _, step := range []func() error{
		func() (err error) { e.weights, err = describe(ctx, l, c, file, e.types(exact)); return err },
		func() error { return e.open(cmp.Or(o.Threads, runtime.GOMAXPROCS(0))) },
		e.fit,
		func() error { return e.weights.upload(ctx, o.Progress) },
		func() error { return ggml.Set(e.state.zeros, make([]float32, c.Width)) },
	} {
		if err := step(); err != nil {
			e.release()
			return nil, fmt.Errorf("opening the encoder on %s: %w", d.Name, err)
		}
	}
	e.queue = batch.New(batch.Config[input, []float32]{Most: e.windows, Run: e.run, Release: e.release})
	return e, nil
}

// types says how matrices are held. To be exact, ggml's processor gets float32, for with halves it rounds the other operand to halves too; other
// devices get halves and take the other operand apart. Otherwise files of Q8_0 stay as they are, and everything else is a half.
func (e *Encoder) types(exact bool) typeOf {
	return func(t gguf.Type) ggml.Type {
		switch {
		case exact && e.device.Kind == ggml.CPU:
			return ggml.F32
		case !exact && t == gguf.Q8_0:
			return ggml.Q8_0
		}
		return ggml.F16
	}
}

// fullest is the layout of the largest batch.
func (e *Encoder) fullest() layout {
	samples := audiobundle.WindowS * audiobundle.SampleRate
	var chunks []whisper.Chunk
	for range e.windows {
		chunks = append(chunks, whisper.Chunks(e.config, samples, samples/audiobundle.Hop)...)
	}
	return layoutOf(chunks)
}

// parts calls do for each graph of a batch: the stem, each layer, and the frames.
func (e *Encoder) parts(do func(write writer) error) error {
	if err := do(func(g *graph) []ggml.Tensor { return g.stem(e.weights) }); err != nil {
		return err
	}
	for _, l := range e.weights.layers {
		if err := do(func(g *graph) []ggml.Tensor { return g.layer(l) }); err != nil {
			return err
		}
	}
	return do(func(g *graph) []ggml.Tensor { return g.pool(e.weights) })
}

// writer writes one graph and gives what it is to compute.
type writer func(g *graph) []ggml.Tensor

// with calls do with a graph of a batch.
func (e *Encoder) with(l layout, write writer, do func(*ggml.Graph) error) error {
	const perBatch, perSpan = 256, 64 // tensors, far more than there are
	size := perBatch + len(l.spans)*perSpan
	x, err := e.library.NewContext(size, size)
	if err != nil {
		return err
	}
	defer x.Close()
	operations, err := x.Graph(size, write(&graph{Graph: ggmlgraph.Graph{Context: x, Arithmetic: e.arithmetic}, config: e.config, state: e.state, layout: l})...)
	if err != nil {
		return err
	}
	return do(operations)
}

// supported asks the device for every operation, before anything is uploaded.
func (e *Encoder) supported() error {
	return e.parts(func(write writer) error {
		return e.with(e.fullest(), write, func(g *ggml.Graph) error {
			if lacking := g.Unsupported(e.device); len(lacking) > 0 {
				return fmt.Errorf("the device cannot run %s of shape %v", lacking[0].Op(), lacking[0].Shape())
			}
			return nil
		})
	})
}

// open opens the device and takes the memory of the weights.
func (e *Encoder) open(threads int) (err error) {
	if e.backend, err = e.device.Backend(); err != nil {
		return err
	}
	if err := e.backend.SetThreads(threads); err != nil {
		return err
	}
	if e.weights.buffer, err = e.weights.Alloc(e.device.Memories()[0]); err != nil {
		return fmt.Errorf("taking memory for the weights: %w", err)
	}
	e.weights.buffer.Weights()
	return nil
}

// fit takes the memory of as many windows as the device has room for, at least one.
func (e *Encoder) fit() error {
	for {
		err := e.take()
		if err == nil || e.windows == 1 {
			return err
		}
		e.drop()
		e.windows /= 2
	}
}

// take asks the device whether it can run batches of e.windows windows, and takes the memory of their state and intermediate values.
func (e *Encoder) take() (err error) {
	most := e.fullest()
	if e.state, err = describeState(e.library, e.config, most); err != nil {
		return err
	}
	if err := e.supported(); err != nil {
		return err
	}
	memory := e.device.Memories()[0]
	if e.state.buffer, err = e.state.Alloc(memory); err != nil {
		return fmt.Errorf("taking memory for %d windows: %w", e.windows, err)
	}
	if e.plan, err = e.library.NewPlan(memory); err != nil {
		return err
	}
	return e.parts(func(write writer) error {
		return e.with(most, write, func(g *ggml.Graph) error {
			if err := e.plan.Alloc(g); err != nil {
				return fmt.Errorf("taking memory for the activations of %d windows: %w", e.windows, err)
			}
			return nil
		})
	})
}

// run computes the frames of a batch. gone is asked before each part.
func (e *Encoder) run(inputs []input, gone func() bool) ([][]float32, error) {
	chunks, mels := make([]whisper.Chunk, len(inputs)), make([]tensor.Matrix, len(inputs))
	for i, in := range inputs {
		chunks[i], mels[i] = in.chunk, in.mel
	}
	l := layoutOf(chunks)
	if err := e.state.load(e.config, l, mels); err != nil {
		return nil, err
	}
	err := e.parts(func(write writer) error {
		if gone() {
			return context.Canceled
		}
		return e.with(l, write, func(g *ggml.Graph) error {
			if err := e.plan.Alloc(g); err != nil {
				return err
			}
			return e.backend.Compute(g)
		})
	})
	if err != nil {
		return nil, err
	}
	return e.state.read(e.config, chunks)
}

// Windows is how many windows the device runs at once at most.
func (e *Encoder) Windows() int { return e.windows }

// Encode is whisper.Encoder's: it turns samples at 16 kHz into pooled frames.
func (e *Encoder) Encode(ctx context.Context, samples []float32) (tensor.Matrix, error) {
	out := tensor.Matrix{Cols: e.config.Width}
	if err := whisper.CheckLength(e.config, len(samples)); err != nil {
		return out, err
	}
	mel := whisper.Mel(samples, whisper.Padded(e.config))
	for _, c := range whisper.Chunks(e.config, len(samples), mel.Rows) {
		frames, err := e.queue.Do(ctx, input{c, mel})
		if err == nil && !tensor.Finite(frames) {
			err = errNotFinite
		}
		if err != nil {
			return out, fmt.Errorf("encoding a clip on %s: %w", e.device.Name, err)
		}
		out.Data, out.Rows = append(out.Data, frames...), out.Rows+c.Tokens()
	}
	return out, nil
}

// Close ends the encoder after the part in hand, and frees the device's memory. Windows in hand end with batch.ErrClosed.
func (e *Encoder) Close() { e.queue.Close() }

// drop gives up what take took.
func (e *Encoder) drop() {
	if e.plan != nil {
		e.plan.Close()
	}
	if e.state != nil {
		e.state.close()
	}
	e.plan, e.state = nil, nil
}

// release frees what the encoder holds on the device, last taken first.
func (e *Encoder) release() {
	e.drop()
	if e.weights != nil {
		e.weights.close()
	}
	if e.backend != nil {
		e.backend.Close()
	}
}

// Package ggmljukebox runs the prior of Jukebox's encoder as graphs of ggml, on a GPU or whatever device ggml has. Weights, codes and
// embeddings are the ones of package jukebox, and so are the results: products are as exact as in
// the precision asked for, float32 unless it is bfloat16.
package ggmljukebox

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/larkstream/larkstream/engine/encoder/batch"
	"github.com/larkstream/larkstream/engine/encoder/ggmlgraph"
	"github.com/larkstream/larkstream/engine/encoder/jukebox"
	"github.com/larkstream/larkstream/engine/model/jukeboxbundle"
	"github.com/larkstream/larkstream/engine/native/ggml"
	"github.com/larkstream/larkstream/engine/tensor"
)

// errNotFinite reports overflow, which weights of sane size do not cause.
var errNotFinite = errors.New("activations are not finite")

// Options are the choices of whoever opens an encoder.
type Options struct {
	// Windows is how many windows the device runs at once at most; 0 is 1. Memory for as many whole windows is taken at the start, or for
	// half of them, and so on, if the device has not as much.
	Windows int
	// Threads of ggml's processor; 0 is as many as Go uses. They wait for one another in loops, which costs dearly beside other work.
	Threads int
	// Progress is called with the blocks whose weights are on the device. It may be nil.
	Progress func(done, total int)
}

// Encoder may be used by several goroutines. Windows that wait while the device is busy run together.
type Encoder struct {
	front      *jukebox.Encoder
	config     jukebox.Config
	library    *ggml.Library
	device     ggml.Device
	windows    int
	threads    int
	arithmetic ggmlgraph.Arithmetic

	backend *ggml.Backend
	weights *weights
	state   *state
	plan    *ggml.Plan // memory of intermediate values

	queue *batch.Queue[[]int32, []float32]
	// after is called with the number of a block when it has run, -1 for the embeddings. Tests set it.
	after func(block int)
}

// New uploads the weights of front, which computes codes, and takes the memory for o.Windows windows. Before that it asks the device for
// every operation, and returns an error that names the first that it lacks.
func New(ctx context.Context, front *jukebox.Encoder, l *ggml.Library, d ggml.Device, o Options) (*Encoder, error) {
	if o.Progress == nil {
		o.Progress = func(int, int) {}
	}
	e := &Encoder{
		front: front, config: front.Config(), library: l, device: d, windows: max(o.Windows, 1), threads: cmp.Or(o.Threads, runtime.GOMAXPROCS(0)),
		arithmetic: ggmlgraph.Arithmetic{Split: d.Kind != ggml.CPU, Rounded: front.Block(0).Attn.Weight.Precision == tensor.BF16},
		after:      func(int) {},
	}
	for _, step := range []func() error{
		e.describe, e.open, e.fit,
		func() error { return e.weights.upload(ctx, front, o.Progress) },
		func() error { return e.state.prepare(e.config) },
	} {
		if err := step(); err != nil {
			e.release()
			return nil, fmt.Errorf("opening the encoder on %s: %w", d.Name, err)
		}
	}
	e.queue = batch.New(batch.Config[[]int32, []float32]{Most: e.windows, Run: e.run, Release: e.release})
	return e, nil
}

// describe lists the weights' tensors.
func (e *Encoder) describe() (err error) {
	matrices := ggml.F16
	if !e.arithmetic.Split {
		// With halves, ggml's CPU backend rounds the other operand to halves too, and on some processors sums in them.
		matrices = ggml.F32
	}
	e.weights, err = describe(e.library, e.config, matrices)
	return err
}

// fullest is the layout of the largest batch.
func (e *Encoder) fullest() layout {
	frames := make([]int, e.windows)
	for i := range frames {
		frames[i] = e.config.Frames(e.config.WindowSamples())
	}
	return e.layout(frames)
}

func (e *Encoder) layout(frames []int) layout {
	return layoutOf(frames, jukeboxbundle.PoolFrames, e.config.Context/e.config.Blocks)
}

// parts calls do for each graph of a batch: the embeddings, each block, and the frames.
func (e *Encoder) parts(do func(part int, write writer) error) error {
	if err := do(-1, func(g *graph) []ggml.Tensor { return []ggml.Tensor{g.embed()} }); err != nil {
		return err
	}
	for d, w := range e.weights.blocks {
		if err := do(d, func(g *graph) []ggml.Tensor { return []ggml.Tensor{g.block(d, w)} }); err != nil {
			return err
		}
	}
	return do(len(e.weights.blocks), (*graph).pool)
}

// writer writes one graph and gives what it is to compute.
type writer func(g *graph) []ggml.Tensor

// with calls do with a graph of a batch.
func (e *Encoder) with(l layout, write writer, do func(*ggml.Graph) error) error {
	const perBatch, perWindow = 256, 128 // tensors of a block, far more than it has
	size := perBatch + len(l)*perWindow
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
	return e.parts(func(_ int, write writer) error { return e.supports(write) })
}

func (e *Encoder) supports(write writer) error {
	return e.with(e.fullest(), write, func(g *ggml.Graph) error {
		if lacking := g.Unsupported(e.device); len(lacking) > 0 {
			return fmt.Errorf("the device cannot run %s of shape %v", lacking[0].Op(), lacking[0].Shape())
		}
		return nil
	})
}

// open opens the device and takes the memory of the weights.
func (e *Encoder) open() (err error) {
	if e.backend, err = e.device.Backend(); err != nil {
		return err
	}
	if err := e.backend.SetThreads(e.threads); err != nil {
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
	if e.state, err = describeState(e.library, e.config, e.weights, e.windows); err != nil {
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
	return e.parts(func(_ int, write writer) error {
		return e.with(e.fullest(), write, func(g *ggml.Graph) error {
			if err := e.plan.Alloc(g); err != nil {
				return fmt.Errorf("taking memory for the activations of %d windows: %w", e.windows, err)
			}
			return nil
		})
	})
}

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

// run computes the frames of a batch. gone is asked before each block.
func (e *Encoder) run(codes [][]int32, gone func() bool) ([][]float32, error) {
	frames := make([]int, len(codes))
	for i, c := range codes {
		frames[i] = len(c) / jukeboxbundle.PoolFrames
	}
	l := e.layout(frames)
	if err := e.state.load(e.config, l, codes); err != nil {
		return nil, err
	}
	err := e.parts(func(part int, write writer) error {
		if gone() {
			return context.Canceled
		}
		err := e.with(l, write, func(g *ggml.Graph) error {
			if err := e.plan.Alloc(g); err != nil {
				return err
			}
			return e.backend.Compute(g)
		})
		if err == nil {
			e.after(part)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return e.state.read(e.config, l)
}

// Windows is how many windows the device runs at once at most.
func (e *Encoder) Windows() int { return e.windows }

// Encode is jukebox.Encoder's: it turns 44.1 kHz mono PCM into frames [n, Width].
func (e *Encoder) Encode(ctx context.Context, pcm []int16) (frames []float32, n int, err error) {
	codes, n, err := e.front.FrameCodes(ctx, pcm)
	if err != nil {
		return nil, 0, err
	}
	frames, err = e.queue.Do(ctx, codes)
	if err == nil && !tensor.Finite(frames) {
		err = errNotFinite
	}
	if err != nil {
		return nil, 0, fmt.Errorf("encoding a clip on %s: %w", e.device.Name, err)
	}
	return frames, n, nil
}

// Close ends the encoder after the block in hand, and frees the device's memory. Windows in hand end with batch.ErrClosed.
func (e *Encoder) Close() { e.queue.Close() }

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

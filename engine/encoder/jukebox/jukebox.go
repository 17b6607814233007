package jukebox

import (
	"context"
	"errors"
	"fmt"
	"runtime"

	"github.com/larkstream/larkstream/engine/tensor"
)

// ErrTooShort is returned for clips of less than MinSamples.
var ErrTooShort = errors.New("clip is too short: fewer than 34 codes leave nothing to pool")

// Part is a part of the work, for measuring.
type Part string

// The parts. PartPacking lays matrices out for products; PartRest is norms, embeddings and pooling.
const (
	PartVQVAE       Part = "vq-vae"
	PartPacking     Part = "packing"
	PartProjections Part = "projections"
	PartAttention   Part = "attention"
	PartMLP         Part = "mlp"
	PartRest        Part = "rest"
)

// Options are the choices of whoever opens an encoder; the zero value is float32 and one window at a time, not measured.
type Options struct {
	// Precision is the arithmetic of the prior's products with its matrices. Everything else is in float32.
	Precision tensor.Precision
	// Windows is how many windows are encoded at once, each in memory of its own; 0 is 1. More only help where one does not keep the
	// processors busy.
	Windows int
	// Mark is called whenever another part of the work begins, with one window in flight.
	Mark func(Part)
	// After is called with the frames [n, Width] behind each layer, the first of which is 1, with one window in flight.
	After func(layers int, frames []float32)
	// CodesOnly leaves out the memory that the prior works in: only codes and weights are asked for.
	CodesOnly bool
}

// Encoder may be used by several goroutines; they wait for one another when more windows come than Options.Windows.
type Encoder struct {
	config Config
	vqvae  *vqvae
	prior  *prior
	mark   func(Part)
	after  func(int, []float32)
	room   int // values that a window works in
	free   chan *window
}

// window is the memory that one window in flight works in. It is made when first needed and used again.
type window struct {
	all     []float32
	samples []float32
	codes   []int32
	heads   chan *heads
	packed  *packedLayer
}

// New reads what is small from the weights and checks the shape of everything else.
func New(c Config, weights Weights, o Options) (*Encoder, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	r := &reader{from: weights, precision: o.Precision}
	e := &Encoder{config: c, vqvae: loadVQVAE(r, c), prior: loadPrior(r, c), mark: o.Mark, after: o.After, free: make(chan *window, max(o.Windows, 1))}
	if r.err != nil {
		return nil, fmt.Errorf("loading the encoder: %w", r.err)
	}
	if e.mark == nil {
		e.mark = func(Part) {}
	}
	// Signals of the VQ-VAE come first, activations of the prior after them, in the same memory.
	if e.room = 2 * c.vqRoom(c.WindowSamples()); !o.CodesOnly {
		e.room = max(e.room, e.prior.room())
	}
	for range cap(e.free) {
		e.free <- &window{}
	}
	return e, nil
}

// Config is the encoder's shape.
func (e *Encoder) Config() Config { return e.config }

// Encode turns 44.1 kHz mono PCM into frames [n, Width], n = ⌊⌊len(pcm)/128⌋/34⌋, at most 240. It hears the first 23.777 s; the loudness
// is normalised by the peak of all that it is given. Clips below MinSamples give ErrTooShort. It waits for its turn and ends soon after
// ctx does.
func (e *Encoder) Encode(ctx context.Context, pcm []int16) (frames []float32, n int, err error) {
	n = e.config.Frames(len(pcm))
	if n == 0 {
		return nil, 0, fmt.Errorf("encoding a clip of %d samples: %w", len(pcm), ErrTooShort)
	}
	w, err := e.take(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer func() { e.free <- w }()
	rows := n * frameRows
	if err := e.encodeCodes(ctx, w, pcm, rows); err != nil {
		return nil, 0, err
	}
	e.mark(PartRest)
	work := e.prior.divide(w.all, w.heads, w.packed)
	after := func(layer int, x []float32) {
		if e.after != nil && layer >= 0 {
			e.after(layer+1, pool(x, n, e.config.Width))
		}
	}
	if err := e.prior.run(ctx, work, w.codes, rows, e.mark, after); err != nil {
		return nil, 0, fmt.Errorf("encoding a clip: %w", err)
	}
	e.mark(PartRest)
	return pool(work.x, n, e.config.Width), n, nil
}

// Codes gives the VQ-VAE's codes of the whole window, padding included.
func (e *Encoder) Codes(ctx context.Context, pcm []int16) ([]int32, error) {
	w, err := e.take(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { e.free <- w }()
	if err := e.encodeCodes(ctx, w, pcm, e.config.Context); err != nil {
		return nil, err
	}
	return append([]int32(nil), w.codes...), nil
}

// Flops are the floating-point operations of the products that a clip of that many samples takes, by part. Attention counts the keys
// that are visible.
func (e *Encoder) Flops(samples int) map[Part]float64 {
	c, n := e.config, e.config.Frames(samples)*frameRows
	vq := float64(min(n+margin, c.Context)) * 2 * float64(c.Bins*c.CodeWidth)
	for length, i := min(n+margin, c.Context)*hop, 0; i < len(e.vqvae.steps); i++ {
		s := e.vqvae.steps[i]
		if s.conv != nil {
			length = s.conv.length(length)
			vq += 2 * float64(length*s.conv.weights())
		} else {
			vq += 2 * float64(length*(s.unit.wide.weights()+s.unit.narrow.weights()))
		}
	}
	pairs := 0
	for d := range c.Layers {
		for _, g := range pattern(d%int(patterns)).groups(n, c.block()) {
			if g.causal {
				pairs += g.queries * (g.queries + 1) / 2
			} else {
				pairs += g.queries * g.keys
			}
		}
	}
	rows := float64(n * c.Layers)
	return map[Part]float64{
		PartVQVAE: vq, PartProjections: 2 * rows * float64(4*c.State*c.Width), PartMLP: 2 * rows * float64(2*c.MLP*c.Width),
		PartAttention: 4 * float64(pairs) * float64(c.State), PartRest: 0, PartPacking: 0,
	}
}

// Idle reports whether nothing is being encoded, and if so ends the encoder: every later call waits for its context to end.
func (e *Encoder) Idle() bool {
	for taken := range cap(e.free) {
		select {
		case <-e.free:
		default:
			for range taken {
				e.free <- &window{}
			}
			return false
		}
	}
	return true
}

// take waits for memory to work in.
func (e *Encoder) take(ctx context.Context) (*window, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case w := <-e.free:
		if w.all == nil {
			e.fill(w)
		}
		return w, nil
	}
}

func (e *Encoder) fill(w *window) {
	w.all, w.samples = make([]float32, e.room), make([]float32, e.config.WindowSamples())
	w.packed = new(packedLayer)
	w.codes, w.heads = make([]int32, e.config.Context), make(chan *heads, runtime.GOMAXPROCS(0))
	for range cap(w.heads) {
		w.heads <- newHeads(e.config)
	}
}

// encodeCodes sets the first n codes of w. It hears as much beyond them as they depend on, so that they are those of the whole window.
func (e *Encoder) encodeCodes(ctx context.Context, w *window, pcm []int16, n int) error {
	e.mark(PartVQVAE)
	samples := w.samples[:min(n+margin, e.config.Context)*hop]
	normalise(samples, pcm)
	half := e.config.vqRoom(len(samples))
	latents, err := e.vqvae.encode(ctx, samples, w.all[:half], w.all[half:2*half])
	if err != nil {
		return fmt.Errorf("encoding a clip: %w", err)
	}
	e.vqvae.quantise(w.codes[:n], latents)
	return nil
}

// pool averages every frameRows rows of x to one of n frames.
func pool(x []float32, n, width int) []float32 {
	frames := make([]float32, n*width)
	for f := range n {
		frame := frames[f*width:][:width]
		for r := range frameRows {
			tensor.Add(frame, x[(f*frameRows+r)*width:])
		}
		for j := range frame {
			frame[j] /= frameRows
		}
	}
	return frames
}

// Package testencoder makes frames without a model: at once or after a set delay, always the same for the same PCM. It
// stands behind encoder.Engine in tests of everything around an encoder.
package testencoder

import (
	"context"
	"encoding/binary"
	"errors"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/larkstream/larkstream/engine/tensor"
)

// Engine makes frames in [-1, 1) from a hash of the PCM.
type Engine struct {
	width   int
	rate    float64 // frames a second
	samples int     // a second
	delay   time.Duration
	encoded atomic.Int64
}

// New makes an engine of the given frame width and rate in Hz for PCM of a sample rate in Hz. delay is the time that one window takes.
func New(width int, rate float64, sampleRate int, delay time.Duration) *Engine {
	return &Engine{width: width, rate: rate, samples: sampleRate, delay: delay}
}

// Encoded counts the windows encoded.
func (e *Engine) Encoded() int64 { return e.encoded.Load() }

// Encode returns at least one frame. It ends early with the cause of ctx.
func (e *Engine) Encode(ctx context.Context, pcm []int16) (tensor.Matrix, error) {
	if len(pcm) == 0 {
		return tensor.Matrix{}, errors.New("encoding a window: it has no samples")
	}
	timer := time.NewTimer(e.delay)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
		return tensor.Matrix{}, context.Cause(ctx)
	}
	rows := max(1, int(math.Floor(float64(len(pcm))/float64(e.samples)*e.rate)))
	out := tensor.Matrix{Rows: rows, Cols: e.width, Data: make([]float32, rows*e.width)}
	random := rand.New(rand.NewPCG(seed(pcm), 0)) //nolint:gosec // reproducible on purpose
	for i := range out.Data {
		out.Data[i] = 2*random.Float32() - 1
	}
	e.encoded.Add(1)
	return out, nil
}

// Close does nothing.
func (e *Engine) Close() error { return nil }

func seed(pcm []int16) uint64 {
	h := fnv.New64a()
	var raw [2]byte
	for _, v := range pcm {
		binary.LittleEndian.PutUint16(raw[:], uint16(v))
		_, _ = h.Write(raw[:]) // a hash never fails
	}
	return h.Sum64()
}

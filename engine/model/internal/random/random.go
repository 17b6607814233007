// Package random makes repeatable random weights.
package random

import (
	"context"
	"hash/fnv"
	"io"
	"math"
	"math/rand/v2"
)

// pieceValues is the most that Uniform passes at once; a multiple of every quantisation's block.
const pieceValues = 1 << 18

// Uniform passes n values of the given mean and standard deviation to emit, in pieces of at most 262,144 that are valid
// during the call. They depend on seed and name only.
func Uniform(ctx context.Context, seed uint64, name string, n int64, mean, deviation float64, emit func([]float32) error) error {
	hash := fnv.New64a()
	_, _ = io.WriteString(hash, name)
	r := rand.New(rand.NewPCG(seed, hash.Sum64())) //nolint:gosec // repeatable weights, no secrets
	// Uniform values between -limit and limit have the deviation limit/sqrt(3).
	scale, middle := float32(math.Sqrt(3)*deviation/(1<<31)), float32(mean)
	values := make([]float32, min(n, pieceValues))
	for left := n; left > 0; left -= int64(len(values)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		values = values[:min(left, int64(len(values)))]
		for i := range values {
			values[i] = middle + scale*float32(int32(r.Uint32()))
		}
		if err := emit(values); err != nil {
			return err
		}
	}
	return nil
}

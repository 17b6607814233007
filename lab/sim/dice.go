//go:build synctests

package sim

import (
	"fmt"
	"hash/fnv"
	"io"
	"sync"
	"time"
)

// dice gives numbers that depend on the seed and on what they are for, and on nothing else.
type dice uint64

// roll gives 64 random bits for a purpose.
func (d dice) roll(purpose ...any) uint64 {
	h := fnv.New64a()
	_, _ = fmt.Fprint(h, uint64(d)) // a hash never fails
	for _, p := range purpose {
		_, _ = io.WriteString(h, "\x00")
		_, _ = fmt.Fprint(h, p)
	}
	return mix(h.Sum64())
}

// mix spreads the bits of FNV, whose low bits follow the last bytes (the finalizer of SplitMix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// hit is true with probability p.
func (d dice) hit(p float64, purpose ...any) bool {
	return float64(d.roll(purpose...)>>11)/(1<<53) < p
}

// below gives a number from 0 to below n.
func (d dice) below(n int, purpose ...any) int {
	return int(d.roll(purpose...) % uint64(n))
}

// between gives a duration from low to below high.
func (d dice) between(low, high time.Duration, purpose ...any) time.Duration {
	return low + time.Duration(d.roll(purpose...)%uint64(high-low))
}

// stream gives a sequence of random numbers, for jitter inside a process.
func (d dice) stream(purpose ...any) func() uint64 {
	var mu sync.Mutex
	state := d.roll(purpose...)
	return func() uint64 {
		mu.Lock()
		defer mu.Unlock()
		state += 0x9e3779b97f4a7c15
		return mix(state)
	}
}

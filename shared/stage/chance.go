package stage

import (
	"math/rand/v2"
	"time"
)

// chance gives random numbers of 64 bits, for jitter; nil takes the process's generator.
type chance func() uint64

func (c chance) next() uint64 {
	if c == nil {
		return rand.Uint64() //nolint:gosec // jitter needs no secrecy
	}
	return c()
}

// below gives a duration from 0 to below d.
func (c chance) below(d time.Duration) time.Duration {
	return time.Duration(c.next() % uint64(max(1, d)))
}

// backoff is the jittered wait before attempt n+1 (n from 1): base doubling, half to one and a half.
func (c chance) backoff(base time.Duration, n int) time.Duration {
	d := min(base<<min(n-1, 16), 30*time.Second)
	return d/2 + c.below(d+1)
}

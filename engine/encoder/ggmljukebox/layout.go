package ggmljukebox

import "math"

// span is where a window lies among the positions of a batch. Its positions are whole blocks, so that it begins at one; what is beyond
// its frames is computed and dropped: no position sees a later one.
type span struct{ first, positions, frames int }

// layout is where the windows of a batch lie, one behind the other.
type layout []span

// layoutOf places windows of that many frames.
func layoutOf(frames []int, frameRows, block int) layout {
	var l layout
	first := 0
	for _, n := range frames {
		positions := (n*frameRows + block - 1) / block * block
		l = append(l, span{first, positions, n})
		first += positions
	}
	return l
}

// positions is how many positions the batch has.
func (l layout) positions() int {
	last := l[len(l)-1]
	return last.first + last.positions
}

// causal gives the mask [queries, keys] in which a query sees the keys up to its own: 0 where it does, -∞ elsewhere.
func causal(n int) []float32 {
	mask := make([]float32, n*n)
	for i := range n {
		for j := i + 1; j < n; j++ {
			mask[i*n+j] = float32(math.Inf(-1))
		}
	}
	return mask
}

// maskRoom is how many values a mask of n by n takes with what keeps the next one aligned, 256 bytes, for any device.
func maskRoom(n int) int { return (n*n + 63) / 64 * 64 }

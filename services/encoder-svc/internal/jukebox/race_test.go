//go:build race

package jukebox

// fullBlock is short under the race detector, which makes the computation in float64 ten times as slow.
const fullBlock = 4

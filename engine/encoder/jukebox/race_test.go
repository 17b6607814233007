//go:build race

package jukebox

// raceDetector says that these tests run under the race detector, where signals of a whole window take minutes.
const raceDetector = true

// fullBlock is short under the race detector, which makes the computation in float64 ten times as slow.
const fullBlock = 4

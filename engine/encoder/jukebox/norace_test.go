//go:build !race

package jukebox

const raceDetector = false

// fullBlock is the real length of a block.
const fullBlock = 64

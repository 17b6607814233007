//go:build !race

package jukebox

// fullBlock is the real length of a block.
const fullBlock = 64

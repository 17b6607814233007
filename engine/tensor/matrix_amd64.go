package tensor

import (
	"errors"
	"fmt"
)

// errNotPermitted reports a system that does not let this process use AMX tiles.
var errNotPermitted = errors.New("the system does not permit it; allow AMX in the virtual machine or container, or take Linux 5.16 or later")

// matrixKernel is the kernel with AMX tiles. The error says why the system does not permit them.
func matrixKernel() (*kernel, error) {
	if err := permitTiles(); err != nil {
		return nil, fmt.Errorf("asking the system for AMX tiles: %w", err)
	}
	return avx512("amx", matrixPairs()), nil
}

// matrixPairs multiplies bfloat16 in AMX tiles.
func matrixPairs() *pairs {
	return pairsOf(tiles[uint32]{32, pairColumns, pairBlock, 192, tilePairsAMX})
}

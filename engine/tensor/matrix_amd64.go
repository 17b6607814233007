package tensor

import (
	"fmt"
	"sync"

	"golang.org/x/sys/cpu"
)

// matrixKernel is the kernel with AMX tiles; nil on processors without them. The error says why one that the processor has is not used.
var matrixKernel = sync.OnceValues(func() (*kernel, error) {
	if !cpu.X86.HasAMXTile || !cpu.X86.HasAMXBF16 {
		return nil, nil
	}
	if err := permitTiles(); err != nil {
		return nil, fmt.Errorf("asking the system for AMX tiles: %w", err)
	}
	kr := avx512("amx", matrixPairs())
	if err := kr.check(); err != nil {
		return nil, fmt.Errorf("trying AMX tiles: %w", err)
	}
	return kr, nil
})

func refused() error {
	_, err := matrixKernel()
	return err
}

// matrixPairs multiplies bfloat16 in AMX tiles.
func matrixPairs() *pairs { return pairsOf(tiles[uint32]{32, pairColumns, pairBlock, tilePairsAMX}) }

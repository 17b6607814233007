package tensor

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheCheckPassesRightKernelsAndFindsWrongOnes(t *testing.T) {
	t.Parallel()
	for _, kr := range kernels() {
		require.NoError(t, kr.check(), kr.name)
		wrong := *kr
		wrong.pairs = nil
		wrong.tile = func(depth int, a, b, c []float32, stride int) {
			kr.tile(depth, a, b, c, stride)
			c[stride*(kr.mr-1)+kr.nr-1]++
		}
		require.ErrorIs(t, wrong.check(), errWrong, kr.name)
	}
}

package tensor

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTheCheckPassesEveryKernelThatTheSystemPermits(t *testing.T) {
	t.Parallel()
	for _, c := range candidates() {
		kr, err := c.open()
		if err != nil {
			t.Logf("%s: %v", c.name, err)
			continue
		}
		require.NoError(t, kr.check(), c.name)
		wrong := *kr
		wrong.tile = func(depth, count int, a, b, c []float32) {
			kr.tile(depth, count, a, b, c)
			c[kr.mr*kr.nr-1]++
		}
		require.ErrorIs(t, wrong.check(), errWrong, c.name)
	}
}

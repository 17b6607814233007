package chunkersvc

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTracksAtOnceFitTheContainer(t *testing.T) {
	t.Parallel()
	const perTrack, gib = 224 << 20, 1 << 30
	for _, tc := range []struct {
		asked      int
		limit      int64
		processors int
		want       int
	}{
		{0, 0, 64, 64},
		{0, gib, 64, 3},
		{0, 100 * gib, 8, 8},
		{0, 1 << 20, 8, 1},
		{5, gib, 64, 5},
	} {
		c := Config{Concurrency: tc.asked}
		require.Equal(t, tc.want, c.tracks(perTrack, tc.limit, tc.processors), "%+v", tc)
	}
}

package stage

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestAnIdleStageDoesNotAskWhatTheNextHasLeft(t *testing.T) {
	t.Parallel()
	var look lookAhead
	held := map[string]bool{"bulk": false}
	require.True(t, look.due(0, held), "nothing is known yet")
	require.False(t, look.due(0, held), "nothing was begun since")
	require.True(t, look.due(1, held), "a record was begun")
	require.True(t, look.due(2, held), "and left, so that its outputs are written")
	require.False(t, look.due(2, held))
	held["bulk"] = true
	require.True(t, look.due(2, held), "the lane waits for the next stage")
	look = lookAhead{}
	held["bulk"] = false
	require.True(t, look.due(2, held), "the broker did not answer")
}

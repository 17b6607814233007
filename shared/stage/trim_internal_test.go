package stage

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A broker that has an index of all its records in memory must not wait ten minutes for the deletion of what a large catalogue has finished.
func TestABoundedNumberOfFinishedRecordsIsKeptToEveryMinute(t *testing.T) {
	t.Parallel()
	require.Equal(t, 10*time.Minute, Config{}.trimEvery())
	require.Equal(t, time.Minute, Config{KeepFinished: 20_000}.trimEvery())
}

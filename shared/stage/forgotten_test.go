package stage

import (
	"context"
	"log/slog"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
)

// TestManyCancelledJobsAreRemembered: a job is not forgotten because many others were cancelled after it, memory is bounded, and a tombstone
// forgets.
func TestManyCancelledJobsAreRemembered(t *testing.T) {
	t.Parallel()
	c, err := NewControl(kafka.Config{Brokers: []string{"127.0.0.1:1"}}, Deps{Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	c.cancel("first")
	for i := range maxCancelled - 1 {
		c.cancel("job" + strconv.Itoa(i))
	}
	cancelled := func(job string) bool {
		ctx, cancel := context.WithCancelCause(t.Context())
		defer cancel(nil)
		c.watch(job, cancel)()
		return ctx.Err() != nil
	}
	require.True(t, cancelled("first"))
	require.False(t, cancelled("another"))
	c.cancel("one more")
	require.False(t, cancelled("first"), "the oldest goes")
	require.True(t, cancelled("one more"))
	require.LessOrEqual(t, len(c.cancelled), maxCancelled)
	c.take(event.Record{Key: "one more"}, 0, 0)
	require.False(t, cancelled("one more"))
}

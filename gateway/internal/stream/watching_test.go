package stream_test

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/gateway/internal/stream"
	"github.com/larkstream/larkstream/shared/event"
)

// TestStagesAreToldWhatIsWatched: at once, again before the word ends, and no more once everybody has left.
func TestStagesAreToldWhatIsWatched(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var said []string
		w := stream.NewWatching("gateway", func(_ context.Context, rec event.Record) {
			require.Equal(t, event.TopicControl, rec.Topic)
			if len(rec.Value) == 0 {
				job, ok := event.UnwatchedJob(rec.Key)
				require.True(t, ok)
				said = append(said, "not "+job)
				return
			}
			said = append(said, rec.Get(event.HeaderSubject))
		}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		round := func() {
			time.Sleep(event.WatchRenewal) //nolint:forbidigo // the bubble's clock
			synctest.Wait()
		}
		first := w.Enter(ctx, "a")
		second := w.Enter(ctx, "a")
		require.Equal(t, []string{"a"}, said, "once for all watchers")
		round()
		first()
		first() // leaving twice counts once
		round()
		require.Equal(t, []string{"a", "a", "a"}, said, "somebody watches still")
		second()
		again := w.Enter(ctx, "a")
		require.Len(t, said, 4)
		again()
		round()
		round()
		require.Equal(t, []string{"a", "a", "a", "a", "not a"}, said)
		require.Less(t, event.WatchRenewal, event.WatchLease/2, "one word may get lost")
		cancel()
		require.NoError(t, <-done)
	})
}

package stage

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// A partition without a leader must not have the outputs on other partitions written again and again.
func TestOnlyWhatFailedIsPublishedAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var sent [][]string
		out := publisherFunc(func(_ context.Context, recs ...event.Record) error {
			var topics []string
			var failed []int
			for i, rec := range recs {
				topics = append(topics, rec.Topic)
				if rec.Topic == "leaderless" && len(sent) < 3 {
					failed = append(failed, i)
				}
			}
			sent = append(sent, topics)
			switch {
			case len(sent) == 2:
				return errors.New("closed") // says nothing about single records
			case len(failed) == 0:
				return nil
			}
			return &kafka.Unacknowledged{Failed: failed, First: errors.New("no leader")}
		})
		p := &persistentPublisher{stage: "test", out: out, log: slog.New(slog.DiscardHandler), metrics: telemetry.NewStageMetrics()}
		require.NoError(t, p.publish(t.Context(), []event.Record{{Topic: "a"}, {Topic: "leaderless"}, {Topic: "b"}, {Topic: "leaderless"}}))
		left := []string{"leaderless", "leaderless"}
		require.Equal(t, [][]string{{"a", "leaderless", "b", "leaderless"}, left, left, left}, sent)
	})
}

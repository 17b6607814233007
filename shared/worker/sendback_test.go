package worker_test

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
	"github.com/larkstream/larkstream/shared/stage/stagetest"
	"github.com/larkstream/larkstream/shared/worker"
)

// Two stages that see different object stores must not send a window to and fro without end or rest.
func TestAWindowIsSentBackLaterAndLaterAndThenFails(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s, _ := newStep(t)
		projector := worker.Handle(s, func(_ context.Context, m *eventpb.EmbeddingReady) ([]proto.Message, error) {
			return []proto.Message{worker.Outbound{Message: &eventpb.WindowReady{Task: m.GetTask()}, Back: true}}, nil
		})
		encoder := worker.Handle(s, func(context.Context, *eventpb.WindowReady) ([]proto.Message, error) {
			return []proto.Message{embedding(s)}, nil
		})
		rec := record(t, embedding(s))
		var topics []string
		for {
			out, err := stagetest.Handle(t.Context(), projector, rec)
			if err != nil {
				require.Equal(t, event.CodeBlobUnreachable, stage.PermanentCode(err))
				require.ErrorContains(t, err, "BLOB_URL")
				break
			}
			back := out[0]
			topics = append(topics, back.Topic)
			if back.Topic != event.TopicWindows {
				require.Equal(t, event.TopicWindows, back.Get(event.HeaderOriginTopic))
				due, err := strconv.ParseInt(back.Get(event.HeaderNotBefore), 10, 64)
				require.NoError(t, err)
				require.True(t, time.UnixMilli(due).After(time.Now()))
			}
			out, err = stagetest.Handle(t.Context(), encoder, back)
			require.NoError(t, err)
			rec = out[0]
		}
		require.Equal(t, []string{
			event.TopicWindows, event.TopicWindows, "lark.encoder.retry.5s.v1", "lark.encoder.retry.5s.v1",
			"lark.encoder.retry.1m.v1", "lark.encoder.retry.1m.v1",
		}, topics)
	})
}

// A bulk window stays in its lane on every way back, or it would pass the people who wait.
func TestAWindowIsSentBackInItsLane(t *testing.T) {
	t.Parallel()
	s, _ := newStep(t)
	h := worker.Handle(s, func(_ context.Context, m *eventpb.EmbeddingReady) ([]proto.Message, error) {
		return []proto.Message{worker.Outbound{Message: &eventpb.WindowReady{Task: m.GetTask()}, Topic: event.TopicJobs, Back: true}}, nil
	})
	bulk := embedding(s)
	bulk.Task.Lane = event.LaneBulk
	for hops, topic := range map[string]string{"": "lark.jobs.bulk.v1", "2": "lark.chunker.retry.5s.bulk.v1"} {
		out, err := stagetest.Handle(t.Context(), h, record(t, bulk).With(event.HeaderHops, hops))
		require.NoError(t, err)
		require.Equal(t, topic, out[0].Topic)
		require.Equal(t, event.LaneBulk, out[0].Get(event.HeaderLane))
	}
}

func TestNonsenseInTheCountOfHopsIsNone(t *testing.T) {
	t.Parallel()
	s, _ := newStep(t)
	h := worker.Handle(s, func(_ context.Context, m *eventpb.EmbeddingReady) ([]proto.Message, error) {
		return []proto.Message{worker.Outbound{Message: &eventpb.WindowReady{Task: m.GetTask()}, Topic: event.TopicJobs, Back: true}}, nil
	})
	for _, text := range []string{"", "-4", "many", "99999999999999999999"} {
		out, err := stagetest.Handle(t.Context(), h, record(t, embedding(s)).With(event.HeaderHops, text))
		require.NoError(t, err)
		require.Equal(t, "1", out[0].Get(event.HeaderHops))
		require.Equal(t, event.TopicJobs, out[0].Topic)
	}
}

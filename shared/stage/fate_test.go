package stage_test

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/stage"
)

func TestTransientErrorGoesThroughTheRetryTopics(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	var (
		mu    sync.Mutex
		calls []event.Record
	)
	run := c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		mu.Lock()
		defer mu.Unlock()
		calls = append(calls, rec)
		if len(calls) <= 4 { // two in place, two on the first retry topic
			return nil, fmt.Errorf("fault %d", len(calls))
		}
		return answer(rec)
	})
	c.publish(window("job", "key", 0, 1))
	for _, os := range c.waitOutcomes(1) {
		require.Equal(t, eventpb.State_STATE_ANSWERED, os[0].GetState())
	}
	c.waitLag("lark.test", 0)
	require.NoError(t, run.drain())
	require.Empty(t, c.deadSeen())
	require.Len(t, calls, 5)
	for i, want := range []string{"", "", "1", "1", "2"} {
		require.Equal(t, want, calls[i].Get(event.HeaderAttempt), "call %d", i)
		require.Equal(t, event.TopicWindows, calls[i].Topic, "the handler sees the topic of origin")
	}
	last := calls[4]
	require.Equal(t, "fault 2", last.Get(event.HeaderFirstError))
	require.Equal(t, "fault 4", last.Get(event.HeaderErrorText))
	require.Equal(t, event.TopicWindows, last.Get(event.HeaderOriginTopic))
	require.Equal(t, "0", last.Get(event.HeaderOriginOffset))
	notBefore, err := strconv.ParseInt(last.Get(event.HeaderNotBefore), 10, 64)
	require.NoError(t, err)
	require.False(t, time.Now().Before(time.UnixMilli(notBefore)), "handled before it was due")
}

// A handler may change its message before it fails; the next attempt must not see that.
func TestEachAttemptGetsAMessageOfItsOwn(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	var mu sync.Mutex
	var seen []*eventpb.Timings
	run := c.start(func(_ context.Context, rec event.Record, msg proto.Message) ([]event.Record, error) {
		mu.Lock()
		defer mu.Unlock()
		task := msg.(*eventpb.WindowReady).GetTask()
		seen = append(seen, task.GetTimings())
		task.Timings = &eventpb.Timings{EncodeMs: 5}
		if len(seen) <= 3 { // two in place, one on the retry topic
			return nil, errors.New("not yet")
		}
		return answer(rec)
	})
	c.publish(window("job", "key", 0, 1))
	c.waitOutcomes(1)
	c.waitLag("lark.test", 0)
	require.NoError(t, run.drain())
	require.Equal(t, make([]*eventpb.Timings, 4), seen)
}

func TestExhaustedRetriesEndInDeadLetterAndOutcomes(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	var calls atomic.Int32
	c.start(func(context.Context, event.Record, proto.Message) ([]event.Record, error) {
		calls.Add(1)
		return nil, stage.Coded(event.CodeEngineError, errors.New("engine is broken"))
	})
	rec := window("job", "key", 7, 3)
	c.publish(rec)
	for _, os := range c.waitOutcomes(3) {
		require.Len(t, os, 1)
		require.Equal(t, eventpb.State_STATE_FAILED, os[0].GetState())
		require.Equal(t, event.CodeEngineError, os[0].GetError().GetCode())
		require.Equal(t, "engine is broken", os[0].GetError().GetMessage())
		require.Equal(t, "test-model", os[0].GetModel())
		require.EqualValues(t, 7, os[0].GetWindow().GetIndex())
	}
	dead := c.waitDead(1)
	require.Len(t, dead, 1)
	want, err := proto.Marshal(rec)
	require.NoError(t, err)
	require.Equal(t, want, dead[0].Value)
	require.Equal(t, rec.GetTask().GetWindow().GetHash(), dead[0].Key)
	for header, want := range map[string]string{
		event.HeaderReason: event.CodeEngineError, event.HeaderErrorText: "engine is broken",
		event.HeaderFirstError: "engine is broken", event.HeaderStage: "test", event.HeaderAttempt: "3",
		event.HeaderOriginTopic: event.TopicWindows, event.HeaderOriginOffset: "0",
		event.HeaderType: event.TypeWindowReady, event.HeaderSource: "/larkstream/test",
	} {
		require.Equal(t, want, dead[0].Get(header), header)
	}
	require.NotEmpty(t, dead[0].Get(event.HeaderOriginPartition))
	require.EqualValues(t, 6, calls.Load(), "two attempts in place on each of three topics")
	c.waitLag("lark.test", 0)
}

func TestPermanentErrorEndsEveryQuestionOfEachRecordType(t *testing.T) {
	t.Parallel()
	task := window("job", "key", 3, 2).GetTask()
	job := &eventpb.Job{
		JobId: "job", Audio: &eventpb.Audio{Sha256: hexOf("track"), BlobKey: event.AudioKey(hexOf("track"))},
		Questions: task.GetQuestions(), Plan: eventpb.PlanMode_PLAN_MODE_AUTO,
	}
	plan := &eventpb.JobPlan{JobId: "job", Track: task.GetTrack(), Windows: []*eventpb.Window{{}}, Questions: 2}
	for name, tc := range map[string]struct {
		msg      proto.Message
		outcomes int
		window   uint32
	}{
		"job":       {job, 2, 0},
		"window":    {&eventpb.WindowReady{Task: task}, 2, 3},
		"embedding": {&eventpb.EmbeddingReady{Task: task, Key: "emb/v1/x", Frames: 1, Width: 1}, 2, 3},
		"prompt":    {&eventpb.PromptReady{Task: task, Key: "prompt/v1/x", Frames: 1, Width: 1}, 2, 3},
		"plan":      {plan, 0, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 1)
			c.start(func(context.Context, event.Record, proto.Message) ([]event.Record, error) {
				return nil, stage.Permanent(event.CodeAudioTooShort, errors.New("too short"))
			})
			rec, err := event.Encode("test", tc.msg)
			require.NoError(t, err)
			rec.Topic = event.TopicWindows
			require.NoError(t, c.out.Publish(t.Context(), rec))
			require.Equal(t, event.CodeAudioTooShort, c.waitDead(1)[0].Get(event.HeaderReason))
			seen := c.waitOutcomes(tc.outcomes)
			require.Len(t, seen, tc.outcomes)
			for q := range uint32(tc.outcomes) {
				os := seen[event.OutcomeID("job", q, tc.window)]
				require.Len(t, os, 1)
				require.Equal(t, eventpb.State_STATE_FAILED, os[0].GetState())
				require.Equal(t, event.CodeAudioTooShort, os[0].GetError().GetCode())
			}
		})
	}
}

func TestUndecodableRecordsAreDeadLetteredAndPassed(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) { return answer(rec) })
	good, err := event.Encode("test", window("job", "key", 0, 1))
	require.NoError(t, err)
	wrongType, err := event.Encode("test", &eventpb.Control{JobId: "job", Kind: "cancel"})
	require.NoError(t, err)
	wrongType.Topic = event.TopicWindows
	damaged := good.With(event.HeaderSubject, "lost").Headers
	require.NoError(t, c.out.Publish(t.Context(),
		event.Record{Topic: event.TopicWindows},
		event.Record{Topic: event.TopicWindows, Key: "k", Value: []byte("no type")},
		event.Record{Topic: event.TopicWindows, Value: []byte{0xff, 0xff}, Headers: damaged},
		event.Record{Topic: event.TopicWindows, Value: make([]byte, 900<<10), Headers: damaged},
		wrongType, // decodable, but not what the handler expects
		good,
	))
	c.waitOutcomes(1)
	dead := c.waitDead(5)
	require.Len(t, dead, 5)
	for _, rec := range dead {
		require.Equal(t, event.CodeUndecodable, rec.Get(event.HeaderReason))
	}
	// Two of the damaged records name their job in ce_subject: one outcome stands for all of it.
	seen := c.waitOutcomes(2)
	require.Len(t, seen, 2)
	lost := seen[event.OutcomeID("lost", 0, 0)]
	require.NotEmpty(t, lost)
	require.Equal(t, event.CodeUndecodable, lost[0].GetError().GetCode())
	require.Empty(t, lost[0].GetQuestion().GetText())
	c.waitLag("lark.test", 0)
}

func TestDeadLetterTooLargeForTheBrokerIsTruncated(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) { return answer(rec) })
	// As large as the broker takes: with the dead letter's own headers it is too large.
	value := make([]byte, 999_700)
	require.NoError(t, c.out.Publish(t.Context(), event.Record{Topic: event.TopicWindows, Key: "k", Value: value}))
	dead := c.waitDead(1)[0]
	require.Less(t, len(dead.Value), len(value))
	require.Equal(t, strconv.Itoa(len(value)), dead.Get("lark-truncated"))
	require.Equal(t, event.CodeUndecodable, dead.Get(event.HeaderReason))
	c.waitLag("lark.test", 0)
}

func TestOutputTooLargeForTheBrokerFailsTheRecord(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.start(func(context.Context, event.Record, proto.Message) ([]event.Record, error) {
		return []event.Record{{Topic: event.TopicAnswers, Value: make([]byte, 2<<20)}}, nil
	})
	c.publish(window("job", "key", 0, 1))
	for _, os := range c.waitOutcomes(1) {
		require.Equal(t, event.CodeInternal, os[0].GetError().GetCode())
	}
	c.waitLag("lark.test", 0)
}

func TestLaterPutsBackWithoutCounting(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	var calls atomic.Int32
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		if calls.Add(1) <= 5 { // more often than there are retries
			return nil, stage.Later(time.Millisecond)
		}
		if got := rec.Get(event.HeaderAttempt); got != "0" {
			return nil, stage.Permanent(event.CodeInternal, fmt.Errorf("attempt is %q", got))
		}
		return answer(rec)
	})
	c.publish(window("job", "key", 0, 1))
	for _, os := range c.waitOutcomes(1) {
		require.Equal(t, eventpb.State_STATE_ANSWERED, os[0].GetState(), os[0].GetError().GetMessage())
	}
	require.EqualValues(t, 6, calls.Load())
	require.Empty(t, c.deadSeen())
}

func TestPanicFailsOnlyItsRecord(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		if taskOf(rec).GetWindow().GetIndex() == 1 {
			panic("secret in the panic")
		}
		return answer(rec)
	})
	for i := range 3 {
		c.publish(window("job", "key", uint32(i), 1))
	}
	seen := c.waitOutcomes(3)
	bad := seen[event.OutcomeID("job", 0, 1)]
	require.Len(t, bad, 1)
	require.Equal(t, event.CodeInternal, bad[0].GetError().GetCode())
	require.NotContains(t, bad[0].GetError().GetMessage(), "secret", "a panic's text is not for users")
	require.Equal(t, eventpb.State_STATE_ANSWERED, seen[event.OutcomeID("job", 0, 2)][0].GetState())
}

// TestFaultsInsideAreNotForUsers: the message leads to the cause and does not tell it; the dead letter does.
func TestFaultsInsideAreNotForUsers(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.start(func(context.Context, event.Record, proto.Message) ([]event.Record, error) {
		return nil, stage.Permanent(event.CodeInternal, errors.New("open /secret/place: no such file"))
	})
	const trace = "0af7651916cd43dd8448eb211c80319c"
	rec, err := event.Encode("test", window("job", "key", 0, 1))
	require.NoError(t, err)
	require.NoError(t, c.out.Publish(t.Context(), rec.With("traceparent", "00-"+trace+"-b7ad6b7169203331-01")))
	for _, os := range c.waitOutcomes(1) {
		require.Equal(t, event.CodeInternal, os[0].GetError().GetCode())
		require.Contains(t, os[0].GetError().GetMessage(), trace)
		require.NotContains(t, os[0].GetError().GetMessage(), "/secret/place")
	}
	require.Contains(t, c.waitDead(1)[0].Get(event.HeaderErrorText), "/secret/place")
}

func TestErrorTextIsBounded(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.start(func(context.Context, event.Record, proto.Message) ([]event.Record, error) {
		return nil, stage.Permanent(event.CodeEngineError, errors.New(strings.Repeat("long \xff ", 1<<16)))
	})
	c.publish(window("job", "key", 0, 1))
	require.Less(t, len(c.waitDead(1)[0].Get(event.HeaderErrorText)), 8<<10)
	for _, os := range c.waitOutcomes(1) {
		require.Less(t, len(os[0].GetError().GetMessage()), 8<<10)
	}
}

// Headers of a retry topic are input like any other: nonsense must not hold up or crash the stage.
func TestHostileRetryHeaders(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		if rec.Topic == "elsewhere" {
			return nil, stage.Permanent(event.CodeInternal, errors.New("origin believed"))
		}
		return answer(rec)
	})
	for i, headers := range [][2]string{
		{event.HeaderNotBefore, "9223372036854775807"},
		{event.HeaderNotBefore, "soon"},
		{event.HeaderAttempt, "-5"},
		{event.HeaderAttempt, "99999999999999999999"},
		{event.HeaderOriginTopic, "elsewhere"},
	} {
		rec, err := event.Encode("test", window("job", "key", uint32(i), 1))
		require.NoError(t, err)
		rec.Topic = event.RetryTopic("test", testDelays[0])
		require.NoError(t, c.out.Publish(t.Context(), rec.With(headers[0], headers[1])))
	}
	for _, os := range c.waitOutcomes(5) {
		require.Equal(t, eventpb.State_STATE_ANSWERED, os[0].GetState(), os[0].GetError().GetMessage())
	}
}

// TestAHandlerThatHangsIsGivenUp: an attempt that takes too long has failed, like any other that fails in a way that may pass.
func TestAHandlerThatHangsIsGivenUp(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 1)
	var attempts atomic.Int32
	run := c.start(func(ctx context.Context, _ event.Record, _ proto.Message) ([]event.Record, error) {
		attempts.Add(1)
		<-ctx.Done()
		return nil, ctx.Err()
	}, func(cfg *stage.Config, _ *stage.Deps) { cfg.Attempts, cfg.HandlerTimeout = 1, 5*time.Millisecond })
	begun := time.Now()
	c.publish(window("job", "key", 0, 1))
	for _, os := range c.waitOutcomes(1) {
		require.Equal(t, event.CodeTimeout, os[0].GetError().GetCode())
		require.Contains(t, os[0].GetError().GetMessage(), "handler_timeout")
	}
	require.EqualValues(t, 1+len(testDelays), attempts.Load())
	require.Eventually(t, func() bool { return run.runner.Silence() < time.Since(begun) }, patience, tick, "answers of the broker are noted")
}

package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// publisherStub notes what is published; errs are the answers to the first calls.
type publisherStub struct {
	mu    sync.Mutex
	errs  []error
	calls int
	recs  []event.Record
}

func (p *publisherStub) Publish(_ context.Context, recs ...event.Record) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.calls++
	if len(p.errs) >= p.calls && p.errs[p.calls-1] != nil {
		return p.errs[p.calls-1]
	}
	p.recs = append(p.recs, recs...)
	return nil
}

func (p *publisherStub) topics() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out []string
	for _, rec := range p.recs {
		out = append(out, rec.Topic)
	}
	return out
}

// settling is a settler with the one task that it settles.
type settling struct {
	*settler
	out    *publisherStub
	client *consumerStub
	task   *task
}

// newSettling makes a task of a window with two questions that has been retried attempt times.
func newSettling(t *testing.T, attempt int, errs ...error) *settling {
	t.Helper()
	s := &settling{out: &publisherStub{errs: errs}, client: &consumerStub{}}
	log, metrics := slog.New(slog.DiscardHandler), telemetry.NewStageMetrics()
	s.settler = &settler{
		stage: "test", model: "m", attempts: 2, log: log, metrics: metrics,
		retries: newRetryTopics("test", nil, []time.Duration{5 * time.Second, time.Minute}),
		out:     &persistentPublisher{stage: "test", out: s.out, log: log, metrics: metrics},
	}
	rec := kafka.ToClient(windowRecord(t))
	rec.Offset = 7
	if attempt > 0 {
		rec.Topic = s.retries.names[attempt-1]
		rec.Headers = append(rec.Headers, kgo.RecordHeader{Key: event.HeaderAttempt, Value: []byte(strconv.Itoa(attempt))},
			kgo.RecordHeader{Key: event.HeaderOriginTopic, Value: []byte(event.TopicWindows)})
	}
	p := newPartition(topicPartition{rec.Topic, 3}, s.client, nil, newGuard(nil, "g", topicPartition{}, slog.New(slog.DiscardHandler)))
	s.task = newTaskReader([]string{event.TopicWindows}, s.retries, nil).task(p, rec)
	p.offsets.add(s.task)
	return s
}

func windowRecord(t *testing.T) event.Record {
	t.Helper()
	hash := strings.Repeat("ab", 32)
	rec, err := event.Encode("test", &eventpb.WindowReady{Task: &eventpb.Task{
		JobId: "job", Track: &eventpb.Track{Sha256: hash, DurationS: 60},
		Window:        &eventpb.Window{Hash: hash, BlobKey: event.PCMKey(hash), Span: &eventpb.Span{EndS: 25}, HeardS: 25},
		Questions:     []*eventpb.Question{{Index: 0, Text: "a?"}, {Index: 1, Text: "b?"}},
		CreatedUnixMs: 1,
	}})
	require.NoError(t, err)
	return rec
}

func (s *settling) settle(ctx context.Context, n int, outputs []event.Record, err error) verdict {
	return s.settler.settle(ctx, ctx, s.task, n, outputs, err)
}

func TestSettlerDecidesByTheError(t *testing.T) {
	t.Parallel()
	const retry5s, retry1m = "lark.test.retry.5s.v1", "lark.test.retry.1m.v1"
	twoFailed := []string{event.TopicDead, event.TopicAnswers, event.TopicAnswers}
	for name, tc := range map[string]struct {
		attempt, n int   // delayed retries so far; the attempt in place
		ended      error // why the job has ended, if it has
		err        error
		result     string
		topics     []string
	}{
		"done":               {err: nil, n: 1, result: telemetry.ResultOK, topics: []string{"out"}},
		"in place again":     {err: errors.New("x"), n: 1},
		"first retry topic":  {err: errors.New("x"), n: 2, result: telemetry.ResultRetried, topics: []string{retry5s}},
		"second retry topic": {err: errors.New("x"), attempt: 1, n: 2, result: telemetry.ResultRetried, topics: []string{retry1m}},
		"retries used up":    {err: errors.New("x"), attempt: 2, n: 2, result: telemetry.ResultDead, topics: twoFailed},
		"permanent":          {err: Permanent("code", errors.New("x")), n: 1, result: telemetry.ResultDead, topics: twoFailed},
		"undecodable":        {err: fmt.Errorf("reading: %w", event.ErrUndecodable), n: 1, result: telemetry.ResultGarbage, topics: twoFailed},
		"invalid":            {err: event.ErrInvalid, n: 1, result: telemetry.ResultGarbage, topics: twoFailed},
		"newer":              {err: event.ErrNewer, n: 1, result: telemetry.ResultLater, topics: []string{retry5s}},
		"later at once":      {err: Later(0), n: 1, result: telemetry.ResultLater, topics: []string{retry5s}},
		"later":              {err: Later(6 * time.Second), n: 1, result: telemetry.ResultLater, topics: []string{retry1m}},
		"much later":         {err: Later(time.Hour), attempt: 2, n: 1, result: telemetry.ResultLater, topics: []string{retry1m}},
		"job cancelled": {
			err: context.Canceled, n: 1, ended: ErrCancelled, result: telemetry.ResultCancelled,
			topics: []string{event.TopicAnswers, event.TopicAnswers},
		},
		"job expired": {
			err: context.DeadlineExceeded, n: 1, ended: ErrExpired, result: telemetry.ResultExpired,
			topics: []string{event.TopicAnswers, event.TopicAnswers},
		},
		"done before the cancel": {err: nil, n: 1, ended: ErrCancelled, result: telemetry.ResultOK, topics: []string{"out"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSettling(t, tc.attempt)
			handlerCtx, end := context.WithCancelCause(t.Context())
			defer end(nil)
			if tc.ended != nil {
				end(tc.ended)
			}
			v := s.settler.settle(t.Context(), handlerCtx, s.task, tc.n, []event.Record{{Topic: "out"}}, tc.err)
			require.Equal(t, tc.result, v.result)
			require.Equal(t, tc.topics, s.out.topics())
			require.Equal(t, tc.result == "", v.again)
			if v.again {
				require.Empty(t, s.client.marked, "not finished yet")
				return
			}
			require.Equal(t, []int64{7}, s.client.marked, "finished once it is published")
		})
	}
}

// TestWhatComesOfARecordIsItsTenants: outputs, outcomes, retries and dead letters alike.
func TestWhatComesOfARecordIsItsTenants(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{"done": nil, "dead": Permanent("code", errors.New("x")), "later": Later(0)} {
		for _, tenant := range []string{"", "acme"} {
			s := newSettling(t, 0)
			if tenant != "" {
				s.task.meta.rec = event.Isolated(s.task.meta.rec.With(event.HeaderTenant, tenant))
			}
			s.settler.settle(t.Context(), t.Context(), s.task, 1, []event.Record{{Topic: "out"}, {Topic: "out"}}, err)
			require.NotEmpty(t, s.out.recs, name)
			for _, rec := range s.out.recs {
				require.Equal(t, tenant, rec.Get(event.HeaderTenant), "%s %s", name, rec.Topic)
				require.Equal(t, tenant != "", rec.Get(event.HeaderIsolated) == event.IsolatedYes, "%s %s", name, rec.Topic)
			}
		}
	}
}

func TestSettlerWritesAndFinishesNothingOfAbandonedWork(t *testing.T) {
	t.Parallel()
	for _, cause := range []error{ErrRevoked, ErrStopping} {
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(cause)
		s := newSettling(t, 0)
		require.Equal(t, verdict{}, s.settle(ctx, 2, nil, context.Canceled))
		require.Zero(t, s.out.calls)
		require.Empty(t, s.client.marked)
	}
}

// A record whose outputs cannot be published is not finished, however often it is tried, and comes again.
func TestSettlerFinishesNothingThatIsNotPublished(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		refused := errors.New("no leader")
		s := newSettling(t, 0, refused, refused, refused)
		require.Equal(t, telemetry.ResultOK, s.settle(t.Context(), 1, []event.Record{{Topic: "out"}}, nil).result)
		require.Equal(t, 4, s.out.calls, "tried until it is acknowledged")

		for _, err := range []error{nil, errors.New("x"), Permanent("code", nil), Later(0)} {
			s = newSettling(t, 0)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			s.settler.out.out = publisherFunc(func(context.Context, ...event.Record) error { return refused })
			require.Equal(t, verdict{}, s.settle(ctx, 2, []event.Record{{Topic: "out"}}, err))
			require.Error(t, ctx.Err(), "it tried until its time was over")
			require.Empty(t, s.client.marked)
			cancel()
		}
	})
}

type publisherFunc func(context.Context, ...event.Record) error

func (f publisherFunc) Publish(ctx context.Context, recs ...event.Record) error {
	return f(ctx, recs...)
}

func TestSettlerBuriesWhatIsTooLargeForTheBroker(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSettling(t, 0, kafka.ErrTooLarge, kafka.ErrTooLarge) // the outputs, then the whole dead letter
		s.task.meta.rec.Value = make([]byte, 2*cutValueBytes)
		s.task.meta.rec = s.task.meta.rec.With("foreign", "header")
		require.Equal(t, telemetry.ResultDead, s.settle(t.Context(), 1, []event.Record{{Topic: "out"}}, nil).result)
		letter := s.out.recs[0]
		require.Equal(t, event.TopicDead, letter.Topic)
		require.Len(t, letter.Value, cutValueBytes)
		require.Equal(t, strconv.Itoa(2*cutValueBytes), letter.Get(event.HeaderTruncated))
		require.Equal(t, event.CodeInternal, letter.Get(event.HeaderReason))
		require.Empty(t, letter.Get("foreign"))
		require.Equal(t, []int64{7}, s.client.marked)
	})
}

// What comes of a dead letter that was sent back counts on: else a window that goes round through several stages could be sent back for ever.
func TestTheWorkOfADeadLetterThatWasSentBackKeepsTheCount(t *testing.T) {
	t.Parallel()
	s := newSettling(t, 0)
	s.task.meta.rec = s.task.meta.rec.With(event.HeaderRedriven, "2")
	outputs := []event.Record{{Topic: event.InLane(event.TopicEmbeddings, event.LaneBulk)}, {Topic: event.TopicAnswers}}
	require.Equal(t, telemetry.ResultOK, s.settle(t.Context(), 1, outputs, nil).result)
	require.Equal(t, []string{"2", ""}, []string{s.out.recs[0].Get(event.HeaderRedriven), s.out.recs[1].Get(event.HeaderRedriven)})

	next := kafka.ToClient(s.out.recs[0])
	p := newPartition(topicPartition{next.Topic, 1}, s.client, nil, newGuard(nil, "g", topicPartition{}, slog.New(slog.DiscardHandler)))
	again := newTaskReader([]string{next.Topic}, s.retries, nil).task(p, next)
	p.offsets.add(again)
	s.settler.settle(t.Context(), t.Context(), again, 1, nil, Permanent("code", errors.New("x")))
	letter := s.out.recs[2]
	require.Equal(t, []string{"2", next.Topic}, []string{letter.Get(event.HeaderRedriven), letter.Get(event.HeaderOriginTopic)}, "its origin is where it failed")
}

func TestRetriedRecordKeepsItsOriginAndFirstError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSettling(t, 0)
		s.settle(t.Context(), 2, nil, errors.New("first"))
		rec := s.out.recs[0]
		for header, want := range map[string]string{
			event.HeaderOriginTopic: event.TopicWindows, event.HeaderOriginPartition: "3", event.HeaderOriginOffset: "7",
			event.HeaderStage: "test", event.HeaderAttempt: "1", event.HeaderFirstError: "first", event.HeaderErrorText: "first",
			event.HeaderNotBefore: strconv.FormatInt(time.Now().Add(5*time.Second).UnixMilli(), 10),
		} {
			require.Equal(t, want, rec.Get(header), header)
		}

		back := kafka.ToClient(rec)
		p := newPartition(topicPartition{rec.Topic, 5}, s.client, nil, newGuard(nil, "g", topicPartition{}, slog.New(slog.DiscardHandler)))
		again := newTaskReader([]string{event.TopicWindows}, s.retries, nil).task(p, back)
		require.Equal(t, event.TopicWindows, again.meta.rec.Topic, "the handler sees the topic of origin")
		require.Equal(t, 1, again.meta.attempt)
		p.offsets.add(again)
		s.settler.settle(t.Context(), t.Context(), again, 2, nil, errors.New("second"))
		rec = s.out.recs[1]
		for header, want := range map[string]string{
			event.HeaderOriginPartition: "3", event.HeaderOriginOffset: "7", event.HeaderAttempt: "2",
			event.HeaderFirstError: "first", event.HeaderErrorText: "second",
		} {
			require.Equal(t, want, rec.Get(header), header)
		}
	})
}

// A record of a newer version waits for an instance of that version from the first time it is put back, and then fails.
func TestSettlerWaitsForANewerVersion(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSettling(t, 0)
		rec := kafka.ToClient(windowRecord(t).With(event.HeaderType, "larkstream.window.ready.v2"))
		keys := map[string]bool{}
		begun := time.Now()
		for {
			p := newPartition(topicPartition{rec.Topic, 3}, s.client, nil, newGuard(nil, "g", topicPartition{}, slog.New(slog.DiscardHandler)))
			task := newTaskReader([]string{event.TopicWindows}, s.retries, nil).task(p, rec)
			p.offsets.add(task)
			require.Equal(t, string(windowRecord(t).Key), task.meta.rec.Key)
			s.out.recs = nil
			v := s.settler.refuse(t.Context(), task, task.meta.err)
			if v.result != telemetry.ResultLater {
				require.Equal(t, telemetry.ResultDead, v.result)
				break
			}
			rec = kafka.ToClient(s.out.recs[0])
			keys[s.out.recs[0].Key] = true
			<-time.After(elsewhereLater)
		}
		require.Greater(t, time.Since(begun), elsewhereWait)
		require.Greater(t, len(keys), 100, "another key, so another partition, each time")
		require.Equal(t, []string{event.TopicDead, event.TopicAnswers, event.TopicAnswers}, s.out.topics())
		require.Equal(t, event.CodeNewerVersion, s.out.recs[0].Get(event.HeaderReason))
		require.Equal(t, windowRecord(t).Key, s.out.recs[0].Key)
	})
}

func TestErrorTextIsBoundedAndValid(t *testing.T) {
	t.Parallel()
	require.Equal(t, "\uFFFDx", boundError(errors.New("\xffx")))
	require.Len(t, boundError(errors.New(strings.Repeat("a", 2*maxErrorBytes))), maxErrorBytes+3)
}

// TestAMachineWithAWrongClock: what the records say of times is read and written by the clock that was handed in. A clock that is behind cannot hold a
// record back for longer than the delay of its topic.
func TestAMachineWithAWrongClock(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		for _, wrong := range []time.Duration{-time.Hour, 10 * time.Second, time.Hour} {
			c := clock(func() time.Time { return time.Now().Add(wrong) })
			require.Equal(t, c.now().UTC(), time.Now().Add(wrong).UTC())
			require.Zero(t, c.at(time.Time{}))
			require.Equal(t, time.Now().Add(time.Minute).UTC(), c.at(time.Now().Add(time.Minute+wrong)).UTC())

			topics := newRetryTopics("test", []string{event.TopicWindows}, []time.Duration{time.Minute})
			topics.clock = c
			rec := topics.address(event.Record{}, 0, 30*time.Second)
			require.Equal(t, time.Now().Add(30*time.Second).UTC(), c.dueOf(rec, time.Minute).UTC(), "its own word")
			require.Equal(t, time.Now().Add(min(time.Minute, max(0, 30*time.Second+wrong))).UTC(), later(clock(nil).dueOf(rec, time.Minute)).UTC(), "to others")
		}
	})
}

// later is t, or now if t has passed.
func later(t time.Time) time.Time {
	if now := time.Now(); t.Before(now) {
		return now
	}
	return t
}

// A record's own headers can neither hold it back for longer than its topic's delay nor make nonsense of its attempts.
func TestRetryHeadersOfOthersAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		at := func(key, value string) event.Record { return event.Record{}.With(key, value) }
		far := strconv.FormatInt(time.Now().Add(1000*time.Hour).UnixMilli(), 10)
		require.Equal(t, time.Now().Add(time.Second), clock(nil).dueOf(at(event.HeaderNotBefore, far), time.Second))
		require.Zero(t, clock(nil).dueOf(at(event.HeaderNotBefore, "soon"), time.Second))
		for _, text := range []string{"", "-3", "many", "99999999999999999999"} {
			require.Zero(t, attemptOf(at(event.HeaderAttempt, text)), text)
		}
	})
}

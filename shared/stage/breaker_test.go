package stage

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/telemetry"
)

// processing is a processor with a handler of the test's and one partition.
type processing struct {
	*processor
	out    *publisherStub
	client *consumerStub
	part   *partition
	work   sync.WaitGroup
	offset int64
	copyOf map[int64]int64 // offsets of copies, and of the records that they repeat
}

func newProcessing(handler Handler) *processing {
	p := &processing{out: &publisherStub{}, client: &consumerStub{}}
	p.part = newPartition(topicPartition{event.TopicWindows, 0}, p.client, nil, newGuard(nil, "g", topicPartition{}, slog.New(slog.DiscardHandler)))
	log, metrics := slog.New(slog.DiscardHandler), telemetry.NewStageMetrics()
	p.processor = &processor{
		stage: "test", backoff: time.Millisecond, timeout: time.Hour, handler: handler, log: log, metrics: metrics,
		slots: newGate(4, 4, bulkTurn), concurrency: 4, breaker: newBreaker("test", log, metrics),
		settler: &settler{
			stage: "test", attempts: 2, log: log, metrics: metrics, retries: newRetryTopics("test", nil, []time.Duration{5 * time.Second}),
			out: &persistentPublisher{stage: "test", out: p.out, log: log, metrics: metrics},
		},
	}
	return p
}

// begin processes one more record in the background.
func (p *processing) begin(t *testing.T, change ...func(*meta)) *task {
	t.Helper()
	id := p.offset
	if first, ok := p.copyOf[id]; ok {
		id = first
	}
	rec := kafka.ToClient(windowRecord(t).With(event.HeaderID, fmt.Sprint("record-", id)))
	rec.Offset = p.offset
	p.offset++
	task := newTaskReader([]string{event.TopicWindows}, p.settler.retries, nil).task(p.part, rec)
	for _, f := range change {
		f(&task.meta)
	}
	p.part.offsets.add(task)
	p.work.Go(func() { p.process(task) })
	return task
}

// A dependency that is down for longer than all retries pauses the stage: nothing is failed, and it goes on by itself.
func TestAStagePausesWhileWhatItNeedsIsDown(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(5 * time.Hour)
		var mu sync.Mutex
		calls := 0
		p := newProcessing(func(context.Context, event.Record, proto.Message) ([]event.Record, error) {
			mu.Lock()
			defer mu.Unlock()
			calls++
			if time.Now().Before(back) {
				return nil, fmt.Errorf("reading window: %w", Unavailable(errors.New("no such host")))
			}
			return []event.Record{{Topic: "out"}}, nil
		})
		for range 10 {
			p.begin(t)
		}
		p.work.Wait()
		require.Len(t, p.out.recs, 10)
		for _, topic := range p.out.topics() {
			require.Equal(t, "out", topic, "no dead letter, no retry topic, no failed outcome")
		}
		require.Less(t, time.Since(back), longestProbe+time.Second, "it goes on soon after")
		probes := int(5*time.Hour/longestProbe) + 10
		require.Less(t, calls, 10*2+probes+10, "one record tries at a time")
	})
}

// watchers are told of progress.
type watchers struct{ told []string }

func (w *watchers) Emit(_ context.Context, rec event.Record) {
	ev, err := event.DecodeAs[*eventpb.Event](rec)
	if err != nil {
		panic(err)
	}
	w.told = append(w.told, ev.GetProgress().GetStage()+" "+ev.GetProgress().GetStatus())
}

// A disk that is full is something that the stage needs: it says so in its readiness and goes on when there is room.
func TestAFullDiskPausesAStageAndIsTold(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		room := time.Now().Add(time.Hour)
		p := newProcessing(func(context.Context, event.Record, proto.Message) ([]event.Record, error) {
			if time.Now().Before(room) {
				return nil, fmt.Errorf("writing object: %w", Unavailable(&os.PathError{Op: "write", Path: "pcm", Err: syscall.ENOSPC}))
			}
			return []event.Record{{Topic: "out"}}, nil
		})
		require.NoError(t, p.breaker.degraded())
		watched := &watchers{}
		p.events = watched
		p.begin(t)
		<-time.After(time.Minute)
		synctest.Wait()
		require.Equal(t, []string{"test waiting"}, watched.told, "once, however often the record is tried")
		require.ErrorContains(t, p.breaker.degraded(), "no space left on device")
		require.ErrorContains(t, p.breaker.degraded(), "tries again by itself")
		p.work.Wait()
		require.NoError(t, p.breaker.degraded())
		require.Equal(t, []string{"out"}, p.out.topics(), "nothing is lost")
	})
}

func TestAPausedStageEndsJobsAndDrains(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProcessing(func(context.Context, event.Record, proto.Message) ([]event.Record, error) {
			return nil, Unavailable(errors.New("down"))
		})
		begun := time.Now()
		p.begin(t, func(m *meta) { m.deadline = begun.Add(time.Hour) })
		p.begin(t)
		<-time.After(time.Hour + time.Second)
		synctest.Wait()
		require.Equal(t, []string{event.TopicAnswers, event.TopicAnswers}, p.out.topics(), "the job's deadline holds during a pause")
		p.part.stopNow()
		p.work.Wait()
		require.Len(t, p.out.recs, 2, "the other record comes again")
		require.Equal(t, []int64{0}, p.client.marked)
	})
}

// One bad record fails alone: only an error that says so pauses the stage.
func TestOtherErrorsDoNotPauseTheStage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newProcessing(func(context.Context, event.Record, proto.Message) ([]event.Record, error) {
			return nil, Permanent("code", Unavailable(errors.New("x")))
		})
		p.begin(t)
		p.work.Wait()
		require.Equal(t, event.TopicDead, p.out.topics()[0])
		p.handler = func(context.Context, event.Record, proto.Message) ([]event.Record, error) {
			return nil, errors.New("x")
		}
		p.begin(t)
		p.work.Wait()
		require.False(t, p.breaker.open)
	})
}

// A record for which a dependency always seems down, while it answers for all others, goes the way of any error.
func TestTheStageDoesNotPauseForEverForOneRecord(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var bad atomic.Bool
		p := newProcessing(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
			if rec.Get("bad") != "" {
				bad.Store(true)
				return nil, Unavailable(errors.New("503"))
			}
			return []event.Record{{Topic: "out"}}, nil
		})
		p.begin(t)
		p.begin(t, func(m *meta) { m.rec = m.rec.With("bad", "yes") })
		for range 20 {
			<-time.After(time.Minute)
			p.begin(t)
		}
		p.work.Wait()
		require.True(t, bad.Load())
		retried := 0
		for _, topic := range p.out.topics() {
			if topic == event.RetryTopic("test", 5*time.Second) {
				retried++
			}
		}
		require.Equal(t, 1, retried)
		require.Len(t, p.out.recs, 21+1)
	})
}

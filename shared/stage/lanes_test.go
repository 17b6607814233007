package stage_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/stage"
)

// lanes makes the topics of both lanes and has the stage read both.
func (c *cluster) lanes(cfg *stage.Config, _ *stage.Deps) {
	var specs []event.TopicSpec
	for _, topic := range append(event.InLanes(event.TopicWindows), event.InLanes(event.TopicEmbeddings)...) {
		specs = append(specs, event.TopicSpec{Name: topic, Partitions: 2, Trimmed: true})
	}
	require.NoError(c.t, kafka.Provision(c.t.Context(), c.config, specs))
	cfg.Topics = event.InLanes(event.TopicWindows)
}

func bulkWindow(job, key string) *eventpb.WindowReady {
	w := window(job, key, 0, 1)
	w.Task.Lane = event.LaneBulk
	return w
}

func TestARecordStaysInItsLaneOnTheRetryTopics(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	retried := make(map[string]event.Record)
	var mu sync.Mutex
	run := c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		mu.Lock()
		defer mu.Unlock()
		if rec.Get(event.HeaderAttempt) != "2" {
			return nil, errors.New("not now")
		}
		retried[rec.Topic] = rec
		return answer(rec)
	}, c.lanes)
	var waits []string
	for _, topic := range event.InLanes(event.RetryTopic("test", testDelays[1])) {
		c.follow(topic, func(rec event.Record) { waits = append(waits, rec.Topic+" "+rec.Key) })
	}
	c.publish(window("person", "key", 0, 1), bulkWindow("catalogue", "other"))
	c.waitOutcomes(2)
	c.waitLag("lark.test", 0)
	require.NoError(t, run.drain())
	require.Contains(t, retried, event.TopicWindows)
	require.Contains(t, retried, "lark.windows.bulk.v1", "the handler sees the topic of origin")
	c.mu.Lock()
	defer c.mu.Unlock()
	require.ElementsMatch(t, []string{"lark.test.retry.40ms.v1 " + hexOf("key"), "lark.test.retry.40ms.bulk.v1 " + hexOf("other")}, waits)
}

// A stage whose handlers are all busy with a catalogue begins a person's record with the next handler that is free.
func TestAPersonWaitsForOneHandlerAndNotForTheCatalogue(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	const windows = 300
	begun, end, seen := make(chan string, windows), make(chan struct{}), make(chan struct{})
	run := c.start(func(ctx context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		begun <- taskOf(rec).GetJobId()
		select {
		case <-end:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
		return answer(rec)
	}, c.lanes, func(cfg *stage.Config, deps *stage.Deps) {
		cfg.Concurrency = 1
		deps.Cost = func(rec event.Record) int64 { // called when a record is taken up
			if taskOf(rec).GetJobId() == "person" {
				close(seen)
			}
			return 1
		}
	})
	var catalogue []proto.Message
	for i := range windows {
		catalogue = append(catalogue, bulkWindow(fmt.Sprint("catalogue-", i), fmt.Sprint("key ", i)))
	}
	c.publish(catalogue...)
	require.Contains(t, <-begun, "catalogue")
	c.publish(window("person", "key 0", 0, 1))
	<-seen
	for i := 0; ; i++ {
		end <- struct{}{}
		if <-begun == "person" {
			break
		}
		require.Less(t, i, windows-2, "the catalogue is done and the person still waits")
	}
	close(end)
	c.waitOutcomes(windows + 1)
	c.waitLag("lark.test", 0)
	require.NoError(t, run.drain())
}

// A tenant's record waits for one handler of the tenant that fills its lane, in both lanes, and then goes on in turns with it.
func TestATenantWaitsForOneHandlerOfAnother(t *testing.T) {
	t.Parallel()
	for _, lane := range event.Lanes() {
		t.Run(lane, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t, 2)
			const windows, small = 200, 5
			begun, end, seen := make(chan string, windows), make(chan struct{}), make(chan struct{}, small)
			run := c.start(func(ctx context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
				tenant, _ := event.TenantOf(rec)
				begun <- tenant
				select {
				case <-end:
				case <-ctx.Done():
					return nil, context.Cause(ctx)
				}
				return answer(rec)
			}, c.lanes, func(cfg *stage.Config, deps *stage.Deps) {
				cfg.Concurrency = 1
				deps.Cost = func(rec event.Record) int64 { // called when a record is taken up
					if tenant, _ := event.TenantOf(rec); tenant == "small" {
						seen <- struct{}{}
					}
					return 1
				}
			})
			owned := func(tenant string, n int) {
				for i := range n {
					w := window(fmt.Sprint(tenant, i), fmt.Sprint("key ", i), 0, 1)
					w.Task.Lane = lane
					rec, err := event.Encode("test", w)
					require.NoError(t, err)
					require.NoError(t, c.out.Publish(t.Context(), event.OfTenant(rec, tenant)))
				}
			}
			owned("large", windows)
			require.Equal(t, "large", <-begun)
			owned("small", small)
			for range small {
				<-seen
			}
			others := 0
			for left := small; left > 0; {
				end <- struct{}{}
				if <-begun == "small" {
					left--
				} else {
					others++
				}
			}
			require.LessOrEqual(t, others, small+1, "handlers of the large tenant between those of the small one, and one that began before all were in the queue")
			close(end)
			c.waitOutcomes(windows + small)
			c.waitLag("lark.test", 0)
			require.NoError(t, run.drain())
		})
	}
}

// The encoder does not keep up: the stage before it stops making windows that would fill the object store.
func TestAStageDoesNotRunFarAheadOfTheNext(t *testing.T) {
	t.Parallel()
	c := newCluster(t, 2)
	begun := make(chan string, 100)
	run := c.start(func(_ context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
		begun <- taskOf(rec).GetJobId()
		return answer(rec)
	}, c.lanes, func(cfg *stage.Config, _ *stage.Deps) {
		cfg.Stage, cfg.Group, cfg.Output, cfg.MaxAhead = "ahead", "lark.ahead", event.TopicEmbeddings, 1
	})
	for i := range uint32(2) {
		task := bulkWindow("unread", "key").GetTask()
		task.Window.Index = i
		c.publish(&eventpb.EmbeddingReady{Task: task, Key: "emb/x", Frames: 1, Width: 1})
	}
	held := func(value string) func() bool {
		return func() bool {
			return strings.Contains(scrape(t), `lark_stage_held{lark_lane="bulk",lark_stage="ahead"} `+value)
		}
	}
	require.Eventually(t, held("1"), patience, tick)
	c.publish(bulkWindow("catalogue", "key"), window("person", "key", 0, 1))
	require.Equal(t, "person", <-begun, "the other lane goes on")
	next := c.start(func(context.Context, event.Record, proto.Message) ([]event.Record, error) { return nil, nil },
		func(cfg *stage.Config, _ *stage.Deps) {
			cfg.Stage, cfg.Topics = event.StageProjector, event.InLanes(event.TopicEmbeddings)
		})
	require.Equal(t, "catalogue", <-begun)
	require.Eventually(t, held("0"), patience, tick)
	c.waitOutcomes(2)
	require.NoError(t, next.drain())
	require.NoError(t, run.drain())
}

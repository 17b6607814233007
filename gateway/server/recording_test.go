package server_test

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/gateway/server"
	"github.com/larkstream/larkstream/shared/event"
	"github.com/larkstream/larkstream/shared/event/eventpb"
	"github.com/larkstream/larkstream/shared/kafka"
	"github.com/larkstream/larkstream/shared/stage"
)

// slowStore is the recorder of a gateway as its runner sees it: a handler that waits for a database, and how many records are in hand.
type slowStore struct {
	taken chan string // topics of the records that the runner has taken up
	end   chan string // topics of the records whose handlers may end

	mu           sync.Mutex
	inHand, most int
}

// read runs the recorder of a configuration on the records of jobs bulk jobs and as many plans as told, which are on the log before it starts, until the test ends.
func (s *slowStore) read(t *testing.T, cfg server.Config, jobs, plans int) {
	t.Helper()
	broker, err := kafka.StartBroker(kafka.BrokerConfig{Log: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	at := kafka.Config{Brokers: []string{broker.Addr()}}
	require.NoError(t, kafka.Provision(t.Context(), at, event.WithPartitions(event.Topics(), int32(cfg.KafkaPartitions))))
	producer, err := kafka.NewProducer(at, kafka.Deps{Log: quiet})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, producer.Close(context.Background())) })
	var recs []event.Record
	for i := range jobs {
		job := heldJob(fmt.Sprint("job ", i))
		job.Lane = event.LaneBulk
		recs = append(recs, encode(t, job))
	}
	for i := range plans {
		plan := &eventpb.JobPlan{JobId: event.DerivedJobID(fmt.Sprint("job ", i)), Questions: 1, Track: &eventpb.Track{Sha256: heldSum, DurationS: 1}, Windows: []*eventpb.Window{{Hash: heldSum, HeardS: 1, Span: &eventpb.Span{EndS: 1}}}}
		recs = append(recs, encode(t, plan))
	}
	require.NoError(t, producer.Publish(t.Context(), recs...))

	s.taken, s.end = make(chan string, len(recs)), make(chan string)
	runner, err := stage.New(server.Recording(cfg), stage.Deps{Kafka: at, Producer: producer, Log: quiet, Handle: s.handle, Cost: s.takeUp})
	require.NoError(t, err)
	runUntilEnd(t, runner)
}

// runUntilEnd runs the runner until the end of the test.
func runUntilEnd(t *testing.T, runner *stage.Runner) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- runner.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-done)
	})
}

func (s *slowStore) takeUp(rec event.Record) int64 {
	s.mu.Lock()
	s.inHand++
	s.most = max(s.most, s.inHand)
	s.mu.Unlock()
	s.taken <- rec.Topic
	return 1
}

func (s *slowStore) peak() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.most
}

func (s *slowStore) handle(ctx context.Context, rec event.Record, _ proto.Message) ([]event.Record, error) {
	select {
	case s.end <- rec.Topic:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inHand--
	return nil, nil
}

var heldSum = strings.Repeat("ab", 32)

func heldJob(id string) *eventpb.Job {
	return &eventpb.Job{
		JobId: event.DerivedJobID(id), Audio: &eventpb.Audio{Sha256: heldSum, BlobKey: event.AudioKey(heldSum)}, Questions: []*eventpb.Question{{Text: "Key?"}},
		Plan: eventpb.PlanMode_PLAN_MODE_AUTO, CreatedUnixMs: 1_790_000_000_000,
	}
}

// While the database is slow, the records wait on the log and not in the memory of the gateway, however many partitions they lie in.
func TestTheRecorderHoldsFewRecords(t *testing.T) {
	t.Parallel()
	for _, partitions := range []int{0, 64} {
		t.Run(strconv.Itoa(partitions), func(t *testing.T) {
			t.Parallel()
			cfg, err := server.DefaultConfig()
			require.NoError(t, err)
			cfg.KafkaPartitions = partitions
			const jobs = 2500
			s := &slowStore{}
			s.read(t, cfg, jobs, 0)
			bound := 4*cfg.RecorderConcurrency + max(event.WorkPartitions, partitions) // one record of each partition is read and waits for its place
			for range bound / 2 {
				<-s.taken
			}
			require.Never(t, func() bool { return s.peak() > bound }, time.Second, 10*time.Millisecond, "while no handler ends")
			for range jobs {
				<-s.end
			}
			require.LessOrEqual(t, s.peak(), bound)
		})
	}
}

// The records of bulk jobs do not fall behind the answers: of each job there are at least two answers and one record, so that a share of a tenth would never do.
func TestJobRecordsKeepUpWithAnswers(t *testing.T) {
	t.Parallel()
	cfg, err := server.DefaultConfig()
	require.NoError(t, err)
	cfg.RecorderConcurrency = 8
	const jobs, plans = 200, 1000
	s := &slowStore{}
	s.read(t, cfg, jobs, plans)
	for seen := map[string]bool{}; len(seen) < 2; seen[<-s.taken] = true { // both are being read
	}
	ended := map[string]int{}
	for range jobs + plans {
		if topic := <-s.end; topic == event.TopicAnswers {
			ended[topic]++
		} else if ended["jobs"]++; ended["jobs"] == jobs {
			require.Less(t, ended[event.TopicAnswers], plans*3/4, "each answer let a job record go first")
		}
	}
}

package stage

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kgo"
)

// consumerStub stands for the Kafka client: it notes what is paused and marked.
type consumerStub struct {
	mu              sync.Mutex
	paused, resumed []string
	marked          []int64
}

func (c *consumerStub) PauseFetchPartitions(p map[string][]int32) map[string][]int32 {
	c.mu.Lock()
	defer c.mu.Unlock()
	for topic := range p {
		c.paused = append(c.paused, topic)
	}
	return nil
}

func (c *consumerStub) ResumeFetchPartitions(p map[string][]int32) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for topic := range p {
		c.resumed = append(c.resumed, topic)
	}
}

func (c *consumerStub) MarkCommitRecords(recs ...*kgo.Record) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, rec := range recs {
		c.marked = append(c.marked, rec.Offset)
	}
}

func tasksFrom(p *partition, n int) []*task {
	tasks := make([]*task, n)
	for i := range tasks {
		tasks[i] = &task{part: p, rec: &kgo.Record{Topic: "t", Offset: int64(i)}}
	}
	return tasks
}

func TestOffsetsMarkOnlyTheFinishedPrefix(t *testing.T) {
	t.Parallel()
	stub := &consumerStub{}
	o := &offsets{mark: stub}
	tasks := tasksFrom(nil, 4)
	for _, task := range tasks {
		o.add(task)
	}
	o.finish(tasks[1])
	o.finish(tasks[2])
	require.Empty(t, stub.marked, "the first record is not finished")
	o.finish(tasks[0])
	require.Equal(t, []int64{2}, stub.marked)
	o.finish(tasks[3])
	require.Equal(t, []int64{2, 3}, stub.marked)
}

func TestOffsetsMarkNothingAfterClose(t *testing.T) {
	t.Parallel()
	stub := &consumerStub{}
	o := &offsets{mark: stub}
	tasks := tasksFrom(nil, 2)
	for _, task := range tasks {
		o.add(task)
	}
	o.finish(tasks[0])
	o.close()
	o.finish(tasks[1])
	require.Equal(t, []int64{0}, stub.marked)
}

// Whatever the order in which records are taken up and finished, no mark passes an unfinished record, marks only grow,
// and the last one is the last record.
func TestOffsetsInAnyOrder(t *testing.T) {
	t.Parallel()
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		stub := &consumerStub{}
		o := &offsets{mark: stub}
		tasks, finished := tasksFrom(nil, 1+rng.IntN(30)), map[int64]bool{}
		var taken []*task
		for next := 0; next < len(tasks) || len(taken) > 0; {
			if next < len(tasks) && (len(taken) == 0 || rng.IntN(2) == 0) {
				o.add(tasks[next])
				taken = append(taken, tasks[next])
				next++
				continue
			}
			i, before := rng.IntN(len(taken)), len(stub.marked)
			finished[taken[i].rec.Offset] = true
			o.finish(taken[i])
			taken = append(taken[:i], taken[i+1:]...)
			for _, mark := range stub.marked[before:] {
				for offset := range mark + 1 {
					require.Truef(t, finished[offset], "seed %d: mark %d passes record %d", seed, mark, offset)
				}
			}
		}
		require.IsIncreasing(t, append([]int64{-1}, stub.marked...), "seed %d", seed)
		require.Equal(t, int64(len(tasks)-1), stub.marked[len(stub.marked)-1], "seed %d", seed)
	}
}

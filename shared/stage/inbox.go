package stage

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	// A partition with this much polled and not yet taken up is paused, and resumed at a quarter. Only bytes count: the client throws
	// away what it has fetched of a partition that is paused and fetches it again later, so that a pause is cheap only if it is rare.
	pauseBytes = 2 << 20
	// fetchPartitionBytes is the most that one fetch brings of a partition, and so about the most that a pause throws away.
	fetchPartitionBytes = 256 << 10
	// recordOverhead is the memory of a record beside its key, value and headers.
	recordOverhead = 512
)

// fetcher pauses and resumes the fetching of partitions. The runner's is *kgo.Client.
type fetcher interface {
	PauseFetchPartitions(map[string][]int32) map[string][]int32
	ResumeFetchPartitions(map[string][]int32)
}

// inbox holds the records of one partition that are polled and not yet taken up. It pauses the partition when too much
// waits. add never blocks, so that one full partition does not hold up the poll of the others.
type inbox struct {
	topicPartition
	fetch fetcher
	// stop ends when no record may be taken up any more.
	stop context.Context //nolint:containedctx // the lifetime of the assignment, not of a call
	wake chan struct{}

	mu      sync.Mutex
	pending []*kgo.Record
	bytes   int
	paused  bool
}

func newInbox(stop context.Context, tp topicPartition, fetch fetcher) *inbox {
	return &inbox{topicPartition: tp, fetch: fetch, stop: stop, wake: make(chan struct{}, 1)}
}

// add takes polled records. It drops them once the partition stops: whoever owns the partition next reads them again.
func (i *inbox) add(recs []*kgo.Record) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.stop.Err() != nil {
		return
	}
	for _, rec := range recs {
		i.pending = append(i.pending, rec)
		i.bytes += recordBytes(rec) + recordOverhead
	}
	if !i.paused && i.bytes >= pauseBytes {
		i.paused = true
		i.fetch.PauseFetchPartitions(i.asMap())
	}
	select {
	case i.wake <- struct{}{}:
	default:
	}
}

// next waits for a record; nil when the partition stops.
func (i *inbox) next() *kgo.Record {
	for {
		if rec := i.pop(); rec != nil {
			return rec
		}
		select {
		case <-i.stop.Done():
			return nil
		case <-i.wake:
		}
	}
}

func (i *inbox) pop() *kgo.Record {
	i.mu.Lock()
	defer i.mu.Unlock()
	if len(i.pending) == 0 || i.stop.Err() != nil {
		return nil
	}
	rec := i.pending[0]
	i.pending[0] = nil
	i.pending = i.pending[1:]
	i.bytes -= recordBytes(rec) + recordOverhead
	if i.bytes <= pauseBytes/4 {
		i.resume()
	}
	return rec
}

// clear forgets what waits.
func (i *inbox) clear() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.pending, i.bytes = nil, 0
}

// unpause ends a pause, which would outlive the assignment otherwise.
func (i *inbox) unpause() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.resume()
}

func (i *inbox) resume() {
	if i.paused {
		i.paused = false
		i.fetch.ResumeFetchPartitions(i.asMap())
	}
}

func recordBytes(rec *kgo.Record) int {
	n := len(rec.Key) + len(rec.Value)
	for _, h := range rec.Headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

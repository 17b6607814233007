package stage

import (
	"maps"
	"slices"
	"sync"
)

// assignment is the set of partitions that the group has given to this instance.
type assignment struct {
	mu     sync.Mutex
	parts  map[topicPartition]*partition
	closed bool
}

// add refuses a partition that comes once the instance has begun to leave the group.
func (a *assignment) add(p *partition) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.closed {
		return false
	}
	if a.parts == nil {
		a.parts = make(map[topicPartition]*partition)
	}
	a.parts[p.topicPartition] = p
	return true
}

// get returns nil for a partition that is not assigned.
func (a *assignment) get(tp topicPartition) *partition {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.parts[tp]
}

// take removes the partitions and returns those that were assigned.
func (a *assignment) take(partitions map[string][]int32) []*partition {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []*partition
	for topic, ids := range partitions {
		for _, id := range ids {
			tp := topicPartition{topic, id}
			if p := a.parts[tp]; p != nil {
				out = append(out, p)
				delete(a.parts, tp)
			}
		}
	}
	return out
}

// close takes all partitions and no more of them in.
func (a *assignment) close() []*partition {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.closed = true
	out := slices.Collect(maps.Values(a.parts))
	clear(a.parts)
	return out
}

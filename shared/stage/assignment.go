package stage

import (
	"maps"
	"slices"
	"sync"
)

// assignment is the set of partitions that the group has given to this instance.
type assignment struct {
	mu    sync.Mutex
	parts map[topicPartition]*partition
}

func (a *assignment) add(p *partition) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.parts == nil {
		a.parts = make(map[topicPartition]*partition)
	}
	a.parts[p.topicPartition] = p
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

func (a *assignment) takeAll() []*partition {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := slices.Collect(maps.Values(a.parts))
	clear(a.parts)
	return out
}

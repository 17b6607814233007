package stage

import "sync"

// keyQueues runs the tasks of one key one after another, in the order added, and tasks of different keys in parallel. A
// key has a goroutine only while it has tasks. The admitter bounds the tasks. Each tenant has queues of its own in each lane: an interactive record does
// not wait behind bulk records of its key, nor a tenant's record behind another tenant's.
type keyQueues struct {
	mu     sync.Mutex
	queues map[ownKey][]*task // present = a goroutine works on it
	work   *sync.WaitGroup
	run    func(*task)
}

type ownKey struct {
	owner
	key string
}

func (k *keyQueues) add(t *task) {
	key := ownKey{t.owner(), t.meta.rec.Key}
	k.mu.Lock()
	defer k.mu.Unlock()
	queue, busy := k.queues[key]
	k.queues[key] = append(queue, t)
	if !busy {
		k.work.Go(func() { k.drain(key) })
	}
}

func (k *keyQueues) drain(key ownKey) {
	for {
		t := k.head(key)
		if t == nil {
			return
		}
		k.run(t)
	}
}

func (k *keyQueues) head(key ownKey) *task {
	k.mu.Lock()
	defer k.mu.Unlock()
	queue := k.queues[key]
	if len(queue) == 0 {
		delete(k.queues, key)
		return nil
	}
	t := queue[0]
	queue[0] = nil
	k.queues[key] = queue[1:]
	return t
}

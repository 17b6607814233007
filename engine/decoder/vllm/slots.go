package vllm

import (
	"context"
	"slices"
	"sync"
)

// slots bounds what is in flight, and shares it between jobs: a free slot goes to the job that has the fewest, among equals to who came
// first.
type slots struct {
	mu      sync.Mutex
	free    int
	held    map[string]int // job -> slots
	waiting []*waiter
}

type waiter struct {
	job   string
	given chan struct{} // closed when it has its slot
}

func newSlots(n int) *slots { return &slots{free: n, held: map[string]int{}} }

// acquire waits for a slot. release must be called once.
func (s *slots) acquire(ctx context.Context, job string) (release func(), err error) {
	w := &waiter{job: job, given: make(chan struct{})}
	s.mu.Lock()
	s.waiting = append(s.waiting, w)
	s.give()
	s.mu.Unlock()
	select {
	case <-w.given:
		return func() { s.release(job) }, nil
	case <-ctx.Done():
		s.leave(w)
		return nil, context.Cause(ctx)
	}
}

// give hands out free slots.
func (s *slots) give() {
	for s.free > 0 && len(s.waiting) > 0 {
		next := 0
		for i, w := range s.waiting {
			if s.held[w.job] < s.held[s.waiting[next].job] {
				next = i
			}
		}
		w := s.waiting[next]
		s.waiting = slices.Delete(s.waiting, next, next+1)
		s.free--
		s.held[w.job]++
		close(w.given)
	}
}

func (s *slots) release(job string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.free++
	if s.held[job]--; s.held[job] == 0 {
		delete(s.held, job)
	}
	s.give()
}

// leave takes a waiter out; if it was given its slot meanwhile, the slot goes back.
func (s *slots) leave(w *waiter) {
	s.mu.Lock()
	at := slices.Index(s.waiting, w)
	if at >= 0 {
		s.waiting = slices.Delete(s.waiting, at, at+1)
	}
	s.mu.Unlock()
	if at < 0 {
		s.release(w.job)
	}
}

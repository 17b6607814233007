package api

import "sync"

// slots bounds what is done at once, in all and for each client, so that one client cannot keep all others out.
type slots struct {
	total, perClient int

	mu      sync.Mutex
	taken   int
	clients map[string]int
}

func newSlots(total, perClient int) *slots {
	return &slots{total: total, perClient: perClient, clients: map[string]int{}}
}

// take takes a slot without waiting. If there is none, full is the bound that was met and whose it is.
func (s *slots) take(client string) (full string, limit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.clients[client] >= s.perClient:
		return "of your address", s.perClient
	case s.taken >= s.total:
		return "in all", s.total
	}
	s.taken++
	s.clients[client]++
	return "", 0
}

// give gives back what take took.
func (s *slots) give(client string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.clients[client]--; s.clients[client] == 0 {
		delete(s.clients, client)
	}
}

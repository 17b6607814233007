//go:build synctests

package sim

import (
	"fmt"
	"sync"
	"time"
)

// entry is one thing that happened.
type entry struct {
	at time.Duration // since the start
	// who did it: a process and its incarnation, a client, or the nemesis.
	who  string
	what string // see the constants
	// id is that of a record, a job, an object or a fault.
	id     string
	job    string
	detail string
}

// What happens.
const (
	began     = "began"     // a handler took a record
	ended     = "ended"     // a handler is done with it
	published = "published" // a record is acknowledged
	stored    = "stored"    // an object is written
	committed = "committed" // a group's offset
	struck    = "fault"
	started   = "started" // a process
	died      = "died"
	stopped   = "stopped"
	accepted  = "accepted" // a job
	cancelled = "cancel acknowledged"
	finished  = "finished" // the client has seen the job's end
)

func (e entry) String() string {
	s := fmt.Sprintf("%12s  %-14s %-10s %s", e.at, e.who, e.what, e.id)
	if e.detail != "" {
		s += "  " + e.detail
	}
	return s
}

// history is all that happened, in order.
type history struct {
	start time.Time

	mu      sync.Mutex
	entries []entry
}

func (h *history) add(e entry) {
	e.at = time.Since(h.start)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = append(h.entries, e)
}

// each calls fn for the entries of one kind.
func (h *history) each(what string, fn func(entry)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.entries {
		if e.what == what {
			fn(e)
		}
	}
}

//go:build synctests

package sim

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/larkstream/larkstream/shared/kafka/simbroker"
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
	// since is when the handler began that did it, where one did.
	since time.Duration
	// commit is what was committed, where something was.
	commit *simbroker.Commit
}

// What happens.
const (
	began     = "began"     // a handler took a record
	ended     = "ended"     // a handler is done with it
	published = "published" // a record is acknowledged
	stored    = "stored"    // an object is written
	told      = "told"      // a webhook
	cleared   = "cleared"   // a record has left the outbox
	committed = "committed" // a group's offset
	struck    = "fault"
	mended    = "mended"
	vanished  = "vanished" // what lay on a topic
	started   = "started"  // a process
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
	full  func() // called when too much has happened; may be nil

	mu      sync.Mutex
	entries []entry
}

func (h *history) add(e entry) {
	e.at = time.Since(h.start)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.entries = append(h.entries, e)
	if len(h.entries) == tooMuch && h.full != nil {
		h.full()
	}
}

// tooMuch is more than the work and the faults of a seed explain: records go round without end.
const tooMuch = 30_000

// each calls fn for the entries of one kind. fn may use the history.
func (h *history) each(what string, fn func(entry)) {
	h.mu.Lock()
	entries := h.entries[:len(h.entries):len(h.entries)]
	h.mu.Unlock()
	for _, e := range entries {
		if e.what == what {
			fn(e)
		}
	}
}

func (h *history) commit(c simbroker.Commit) {
	h.add(entry{who: c.Group, what: committed, detail: strconv.FormatInt(c.Offset, 10), commit: &c})
}

// close ends the history: it names the topics of commits and puts what happened at one moment in an order that does not depend on the
// scheduler of goroutines.
func (h *history) close(b *simbroker.Broker) {
	names := make(map[[16]byte]string)
	h.mu.Lock()
	defer h.mu.Unlock()
	for i, e := range h.entries {
		if e.commit == nil || e.id != "" {
			continue
		}
		name, ok := names[e.commit.Topic]
		if !ok {
			name = b.TopicOf(e.commit.Topic)
			names[e.commit.Topic] = name
		}
		h.entries[i].id = fmt.Sprintf("%s/%d", name, e.commit.Partition)
	}
	slices.SortStableFunc(h.entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.who, b.who), cmp.Compare(a.what, b.what), cmp.Compare(a.id, b.id), cmp.Compare(a.detail, b.detail))
	})
}

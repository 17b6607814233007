package stage

import (
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
)

// marker lets records be committed. The runner's is *kgo.Client, which commits every half second what is marked.
type marker interface {
	MarkCommitRecords(...*kgo.Record)
}

// offsets knows how far one partition may be committed: up to the first record that is not finished. So a record that was
// overtaken by later ones comes again after a crash.
type offsets struct {
	mark marker

	mu     sync.Mutex
	open   []*task // taken up and not yet committed, by offset
	closed bool
}

// add takes up a task; tasks are added in the order of their offsets.
func (o *offsets) add(t *task) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.open = append(o.open, t)
}

// finish marks the task done, and lets every record before the first unfinished one be committed.
func (o *offsets) finish(t *task) {
	o.mu.Lock()
	defer o.mu.Unlock()
	t.done = true
	var last *kgo.Record
	for len(o.open) > 0 && o.open[0].done {
		last = o.open[0].rec
		o.open[0] = nil
		o.open = o.open[1:]
	}
	if last != nil && !o.closed {
		o.mark.MarkCommitRecords(last)
	}
}

// close forbids further marks: the partition belongs to another instance from now on.
func (o *offsets) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
}

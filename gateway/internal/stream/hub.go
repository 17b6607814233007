package stream

import (
	"container/list"
	"context"
	"errors"
	"sort"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/larkstream/larkstream/shared/event/eventpb"
)

var (
	// ErrLagging says that the watcher was too slow: events that it had not read are gone.
	ErrLagging = errors.New("watcher fell behind the event buffer")
	// ErrEvicted says that the job's buffer was given up for others; watch it again.
	ErrEvicted = errors.New("event buffer was given up")
)

// Config bounds the hub; zero values mean the defaults.
type Config struct {
	// JobEvents and JobBytes bound one job's buffer; defaults 4,096 and 1 MiB.
	JobEvents int
	JobBytes  int
	// Jobs and TotalBytes bound all buffers; defaults 4,096 and 64 MiB.
	Jobs       int
	TotalBytes int
}

func (c *Config) setDefaults() {
	set := func(v *int, d int) {
		if *v <= 0 {
			*v = d
		}
	}
	set(&c.JobEvents, 4096)
	set(&c.JobBytes, 1<<20)
	set(&c.Jobs, 4096)
	set(&c.TotalBytes, 64<<20)
}

// Item is one event of a job. Offset is its number: the record's offset in its partition, and all
// events of a job lie in one partition.
type Item struct {
	Offset int64
	Event  *eventpb.Event
	bytes  int
}

// itemOverhead estimates what an Item costs beside its message.
const itemOverhead = 256

// Hub is safe for concurrent use.
type Hub struct {
	cfg   Config
	mu    sync.Mutex
	jobs  map[string]*buffer
	order *list.List // of *buffer, least recently touched first
	bytes int
}

// buffer is one job's recent events.
type buffer struct {
	id    string
	elem  *list.Element
	items []Item
	bytes int
	// floor: nothing is known of events with an offset up to floor.
	floor    int64
	known    bool // floor is set: at least one event has come
	last     int64
	ended    bool
	evicted  bool
	outcomes map[string]bool // ids among items
	progress Progress
	// changed is closed, and replaced, when there is something new.
	changed chan struct{}
}

// New makes an empty hub.
func New(cfg Config) *Hub {
	cfg.setDefaults()
	return &Hub{cfg: cfg, jobs: make(map[string]*buffer), order: list.New()}
}

// Append takes the next event of the log. Offsets of one job rise; an offset seen before, as well as
// anything after a job's end, is ignored.
func (h *Hub) Append(offset int64, ev *eventpb.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.touch(ev.GetJobId())
	if b.known && offset <= b.last || b.ended {
		return
	}
	if !b.known {
		b.known, b.floor = true, offset-1
	}
	b.last = offset
	if id := ev.GetOutcome().GetOutcomeId(); id != "" {
		if b.outcomes[id] {
			return // the recorder says it again after a restart
		}
		b.outcomes[id] = true
	}
	item := Item{Offset: offset, Event: ev, bytes: proto.Size(ev) + itemOverhead}
	b.items = append(b.items, item)
	b.ended = ev.GetEnded() != nil
	h.grow(b, item.bytes+b.progress.add(ev.GetProgress()))
	for len(b.items) > 1 && (len(b.items) > h.cfg.JobEvents || b.bytes > h.cfg.JobBytes) {
		h.dropOldest(b)
	}
	close(b.changed)
	b.changed = make(chan struct{})
	h.evict(b)
}

// Reset forgets all events, for a log that begins anew: its offsets say nothing about the events before. Watchers are told ErrEvicted.
func (h *Hub) Reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.jobs) > 0 {
		h.giveUp(h.order.Front().Value.(*buffer))
	}
}

func (h *Hub) grow(b *buffer, n int) {
	b.bytes += n
	h.bytes += n
}

func (h *Hub) dropOldest(b *buffer) {
	b.floor = b.items[0].Offset
	delete(b.outcomes, b.items[0].Event.GetOutcome().GetOutcomeId())
	h.grow(b, -b.items[0].bytes)
	b.items[0] = Item{}
	b.items = b.items[1:]
}

// touch returns the job's buffer, made if need be, as the most recently used one.
func (h *Hub) touch(id string) *buffer {
	if b, ok := h.jobs[id]; ok {
		h.order.MoveToBack(b.elem)
		return b
	}
	b := &buffer{id: id, outcomes: make(map[string]bool), changed: make(chan struct{})}
	b.elem = h.order.PushBack(b)
	h.jobs[id] = b
	return b
}

// evict gives up the least recently used buffers until the bounds hold; keep stays.
func (h *Hub) evict(keep *buffer) {
	for len(h.jobs) > h.cfg.Jobs || h.bytes > h.cfg.TotalBytes {
		b := h.order.Front().Value.(*buffer)
		if b == keep {
			return
		}
		h.giveUp(b)
	}
}

func (h *Hub) giveUp(b *buffer) {
	h.order.Remove(b.elem)
	delete(h.jobs, b.id)
	h.grow(b, -b.bytes)
	b.evicted, b.items = true, nil
	close(b.changed)
}

// Progress of a job, as far as this process has seen it.
func (h *Hub) Progress(jobID string) Progress {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b, ok := h.jobs[jobID]; ok {
		return b.progress.clone()
	}
	return Progress{}
}

// Watcher is a position in a job's buffer, for one goroutine.
type Watcher struct {
	hub *Hub
	buf *buffer
	pos int64
	// early says that watching began before the job's first event came; pos is then moved to the buffer's floor once it has come.
	early bool
	// Gap says that the buffer does not reach back to where the watcher asked to begin: earlier outcomes must be told from the job store.
	Gap bool
	// Held are the ids of the outcomes that the watcher will still be given from the buffer. Past are the ids of the outcomes that the
	// buffer holds from before the place where the watcher begins.
	Held, Past map[string]bool
}

// FromStart asks Watch for all that the buffer holds.
const FromStart = int64(-1)

// Watch begins to watch a job after the event numbered after, or at FromStart. A number above the job's last event counts as FromStart: the
// topic must have been made anew.
func (h *Hub) Watch(jobID string, after int64) *Watcher {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.touch(jobID)
	h.evict(b)
	w := &Watcher{hub: h, buf: b, pos: after, Held: make(map[string]bool), Past: make(map[string]bool)}
	if b.known && after > b.last {
		w.pos = FromStart
	}
	w.Gap = !b.known || w.pos < b.floor
	if b.known {
		w.pos = max(w.pos, b.floor)
	} else {
		w.early = true
	}
	for _, it := range b.items {
		switch id := it.Event.GetOutcome().GetOutcomeId(); {
		case id == "":
		case it.Offset > w.pos:
			w.Held[id] = true
		default:
			w.Past[id] = true
		}
	}
	return w
}

// Next returns the next event, waiting for it until ctx ends or idle fires; then the Item has no
// Event. What the buffer holds is returned without waiting. ErrLagging and ErrEvicted end the watch.
func (w *Watcher) Next(ctx context.Context, idle <-chan time.Time) (Item, error) {
	for {
		item, changed, err := w.poll()
		if err != nil || item.Event != nil {
			return item, err
		}
		select {
		case <-ctx.Done():
			return Item{}, context.Cause(ctx)
		case <-idle:
			return Item{}, nil
		case <-changed:
		}
	}
}

// poll returns the next event if there is one, or the channel that tells of it.
func (w *Watcher) poll() (Item, <-chan struct{}, error) {
	w.hub.mu.Lock()
	defer w.hub.mu.Unlock()
	b := w.buf
	switch {
	case b.evicted:
		return Item{}, nil, ErrEvicted
	case !b.known:
		return Item{}, b.changed, nil
	case w.early:
		w.pos, w.early = max(w.pos, b.floor), false
	case w.pos < b.floor:
		return Item{}, nil, ErrLagging
	}
	i := firstAfter(b.items, w.pos)
	if i == len(b.items) {
		return Item{}, b.changed, nil
	}
	w.pos = b.items[i].Offset
	return b.items[i], nil, nil
}

// firstAfter returns the index of the first item numbered above pos.
func firstAfter(items []Item, pos int64) int {
	return sort.Search(len(items), func(i int) bool { return items[i].Offset > pos })
}
